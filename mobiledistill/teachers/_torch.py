"""Torch modules as teachers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from mobiledistill._layers import layer_shapes, run_with_layers
from mobiledistill._student import as_tuple
from mobiledistill._task import Task
from mobiledistill._workdir import fingerprint
from mobiledistill.teachers._base import Answers, Teacher

__all__ = ["TorchTeacher"]


class TorchTeacher(Teacher):
    """A torch module; the only teacher that can be looked into.

    You gain speed where there is an accelerator: the teacher may answer there in 16 bits while the student learns in
    32. Answers come back in 32 bits.

    Example:
        >>> from tests.networks import Residual, Stripes
        >>> teacher = TorchTeacher(Residual())
        >>> task = Stripes()
        >>> teacher.answers(task, next(task.train_batches(0)).inputs).outputs["logits"].shape
        torch.Size([64, 4])

    Args:
        module: the trained module; where a device or dtype is given, a copy of it answers.
        device: where it answers; None: where the batch is.
        dtype: what it computes in; None: its own.
    """

    def __init__(
        self, module: nn.Module, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self._fingerprint: str | None = None
        asis = device is None and dtype is None
        self._module = module.eval() if asis else copy.deepcopy(module).eval().to(device, dtype)
        self._device = None if device is None else torch.device(device)
        self._dtype = dtype

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def fingerprint(self) -> str:
        if self._fingerprint is None:
            self._fingerprint = f"{fingerprint(self._module)}{'' if self._dtype is None else self._dtype}"
        return self._fingerprint

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        first = next(iter(inputs.values()))
        self._follow(first.device)
        asked = task.exported(self._module, signature)
        if asked.training:
            asked.eval()
        with torch.no_grad():
            returned, seen = run_with_layers(asked, [self._moved(value) for value in inputs.values()], layers)
        outputs = dict(zip(task.signatures[signature].outputs, as_tuple(returned), strict=True))
        return Answers(*({n: _back(v, first.device) for n, v in part.items()} for part in (outputs, seen)))

    def layer_shapes(self, task: Task, signature: str) -> Mapping[str, tuple[int, ...]]:
        examples = [torch.from_numpy(value[:1].copy()) for value in task.calibration_inputs(signature).values()]
        place = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        return layer_shapes(
            task.exported(self._module, signature), [self._moved(value).to(place) for value in examples]
        )

    def _follow(self, device: torch.device) -> None:
        """Without a device of its own the teacher goes where the batches are."""
        parameter = next(self._module.parameters(), None)
        if self._device is None and parameter is not None and parameter.device != device:
            self._module.to(device)

    def _moved(self, value: Tensor) -> Tensor:
        if self._dtype is not None and value.is_floating_point():
            value = value.to(self._dtype)
        return value if self._device is None else value.to(self._device)


def _back(value: Tensor, device: torch.device) -> Tensor:
    return value.to(device, torch.float32 if value.is_floating_point() else value.dtype)
