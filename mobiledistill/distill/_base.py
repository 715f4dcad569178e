"""What every distillation loss is: a function of one step that can be added and scaled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from converters import InputError
from mobiledistill._task import Output

__all__ = ["Loss", "Step", "check_temperature", "check_weights"]


@dataclass(frozen=True)
class Step:
    """What a loss may look at in one training step.

    Attributes:
        student: the student's outputs by name, with gradients.
        teacher: the teacher's outputs by name, without.
        outputs: what each output means.
        hard: the task's own loss on the true targets, a scalar with gradients.
        targets: the batch's, masks among them.
    """

    student: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    outputs: Mapping[str, Output]
    hard: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def mask(self, name: str) -> Tensor | None:
        """Which places of an output count, and how much; None: all alike."""
        mask = self.outputs[name].mask
        return None if mask is None else self.targets[mask]


class Loss(ABC):
    """A distillation loss; ``2 * a + b`` is one too."""

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """The scalar loss of one step."""

    def __add__(self, other: Loss) -> Loss:
        return _Sum(self, other)

    def __mul__(self, factor: float) -> Loss:
        return _Scaled(self, factor)

    __rmul__ = __mul__


@dataclass(frozen=True)
class _Sum(Loss):
    first: Loss
    second: Loss

    def __call__(self, step: Step) -> Tensor:
        return self.first(step) + self.second(step)


@dataclass(frozen=True)
class _Scaled(Loss):
    loss: Loss
    factor: float

    def __call__(self, step: Step) -> Tensor:
        return self.loss(step) * self.factor


def check_temperature(temperature: float) -> None:
    """What divides logits must be above 0."""
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, but got {temperature!r}.")


def check_weights(**weights: float) -> None:
    """Weights of the parts of one loss; ``SoftTargets`` has ``hard`` and ``soft``."""
    if not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
        names, values = " and ".join(weights), ", ".join(map(repr, weights.values()))
        raise InputError(f"{names} must not be negative nor both 0, but got {values}.")
