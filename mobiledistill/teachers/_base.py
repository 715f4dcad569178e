"""What every teacher is: something that answers a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._task import Task

__all__ = ["Answers", "Teacher"]


@dataclass(frozen=True)
class Answers:
    """What a teacher says of a batch.

    Attributes:
        outputs: by name, as the task's signature names them.
        layers: outputs of the layers asked for, by path.
    """

    outputs: Mapping[str, Tensor]
    layers: Mapping[str, Tensor] = field(default_factory=dict)


class Teacher(ABC):
    """Anything that answers a batch; students learn from it and never know what it is."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of all that its answers depend on."""

    @property
    def module(self) -> nn.Module | None:
        """The torch module that it is, from which students can be cut; None where it is none."""
        return None

    @property
    def size_bytes(self) -> int | None:
        """Of the file that it is; None where it is none."""
        return None

    @abstractmethod
    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        """What it says of a batch; without gradients, on the device of the inputs.

        Args:
            task: whose signature it is.
            inputs: by name, any batch size.
            signature: which one.
            layers: paths of layers whose outputs are wanted too; none unless ``layer_shapes`` names it.
        """

    def layer_shapes(self, task: Task, signature: str) -> Mapping[str, tuple[int, ...]]:
        """Every layer that can be asked for, with its output's shape at batch 1; empty: it cannot be looked into."""
        return {}

    def flush(self) -> None:  # noqa: B027  (most teachers keep nothing)
        """Writes what the teacher keeps on disk, if it does; called after every epoch."""

    def check(self, task: Task) -> None:
        """Asks one sample of every signature and compares its answers with what the task wants.

        Raises:
            InputError: an output is missing or of another shape, or its values are not finite.
        """
        for name, signature in task.signatures.items():
            inputs = {key: torch.from_numpy(value[:1].copy()) for key, value in task.calibration_inputs(name).items()}
            found = self.answers(task, inputs, name).outputs
            for output, wanted in signature.outputs.items():
                if output not in found:
                    raise InputError(
                        f"The teacher does not answer {output!r} of signature {name!r}, only {', '.join(found)}: name"
                        " its outputs as the task does, or give a teacher for this task."
                    )
                if tuple(found[output].shape) != wanted.shape:
                    raise InputError(
                        f"The teacher answers {output!r} of signature {name!r} in shape {tuple(found[output].shape)},"
                        f" but the task wants {wanted.shape}: give a teacher for the same classes."
                    )
                if not bool(torch.isfinite(found[output]).all()):
                    raise InputError(
                        f"The teacher's answer {output!r} of signature {name!r} is not finite on the first calibration"
                        " input: check its weights and how inputs are normalised."
                    )
