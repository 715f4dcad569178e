"""Students that learn together, each from the others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step, check_temperature
from mobiledistill.distill._rows import answering, divergence

__all__ = ["MutualLearning"]


@dataclass(frozen=True, init=False)
class MutualLearning(Loss):
    """``mean(divergence(peer, student))``, while each peer learns the task and the student's answers.

    Online distillation (Zhang et al. 2018). You gain a teacher where there is none; with a good teacher at hand its
    answers say more, and peers cost a training each. Peers are copied, trained beside the student and thrown away.

    Example:
        >>> loss = HardTargets() + MutualLearning(make_net(), make_net())  # doctest: +SKIP

    Args:
        peers: untrained modules that read and answer what the signature says; other than the student, or of other
            first weights.
        temperature: divides logits, above 0.

    Raises:
        InputError: there is no peer, or the temperature is not above 0.
    """

    peers: tuple[nn.Module, ...] = field(repr=False)
    temperature: float

    def __init__(self, *peers: nn.Module, temperature: float = 1.0) -> None:
        if not peers:
            raise InputError("MutualLearning needs one peer or more.")
        check_temperature(temperature)
        object.__setattr__(self, "peers", peers)
        object.__setattr__(self, "temperature", temperature)

    def __repr__(self) -> str:
        from mobiledistill._workdir import fingerprint

        return f"MutualLearning({', '.join(map(fingerprint, self.peers))}, temperature={self.temperature})"

    def bind(self, pair: Pair) -> Bound:
        return _BoundPeers([copy.deepcopy(peer) for peer in self.peers], self.temperature)

    @property
    def reads_layers(self) -> bool:
        return False

    def of_outputs(self) -> OutputLoss | None:
        return None


class _BoundPeers(Bound):
    def __init__(self, peers: list[nn.Module], temperature: float) -> None:
        super().__init__()
        self.peers = nn.ModuleList(peers)
        self._temperature = temperature

    def forward(self, step: Step) -> Tensor:
        losses = []
        for peer in self.peers:
            returned = peer(*step.inputs.values())
            values = (returned,) if isinstance(returned, Tensor) else tuple(returned)
            said = dict(zip(step.outputs, values, strict=True))
            losses.append(self._apart(step, step.student, said) + self._apart(step, said, step.student))
            if step.hard_of is not None:
                losses[-1] = losses[-1] + step.hard_of(said)
        return torch.stack(losses).mean()

    def _apart(self, step: Step, learner: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> Tensor:
        parts = [
            divergence(learner[name], model[name].detach(), head, self._temperature, step.mask(name))
            for name, head in answering(step)
        ]
        return torch.stack(parts).sum()
