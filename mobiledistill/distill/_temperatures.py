"""Temperatures that change: over the training, or as the student learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step, check_temperature, check_weights
from mobiledistill.distill._reversal import reversed_gradient
from mobiledistill.distill._rows import answering, divergence
from mobiledistill.distill._soft_targets import SoftTargets

__all__ = ["AnnealedTargets", "LearnedTemperature"]


@dataclass(frozen=True)
class AnnealedTargets(OutputLoss):
    """``SoftTargets`` whose temperature falls from ``start`` to ``end`` over the training.

    Annealing (Jafari et al. 2021): first the whole picture, at last the answer as it ships. You gain a temperature
    that need not be tuned; where one is known to be right, keeping it is as good.

    Example:
        >>> loss = AnnealedTargets(start=8.0, end=1.0)

    Args:
        start: the first temperature, above 0.
        end: the last one, above 0.
        hard: weight of the task's own loss, 0 or more.
        soft: weight of the teacher's answer, 0 or more.

    Raises:
        InputError: an argument is out of range.
    """

    start: float = 8.0
    end: float = 1.0
    hard: float = 0.3
    soft: float = 0.7

    def __post_init__(self) -> None:
        check_temperature(self.start)
        check_temperature(self.end)
        check_weights(hard=self.hard, soft=self.soft)

    def __call__(self, step: Step) -> Tensor:
        temperature = self.start + (self.end - self.start) * step.progress
        return SoftTargets(temperature, self.hard, self.soft)(step)


@dataclass(frozen=True)
class LearnedTemperature(Loss):
    """Soft targets whose temperature is learned against the student (CTKD, Li et al. 2023).

    The temperature climbs the loss that the student descends, the more so the further the training is: a curriculum
    from easy to hard that nobody tunes. You gain that, and lose a fixed scale of the loss; with short trainings it
    hardly leaves its first value.

    Example:
        >>> loss = LearnedTemperature(start=4.0)

    Args:
        start: the first temperature, between 1 and ``most``.
        most: the highest it may become.
        hard: weight of the task's own loss, 0 or more.
        soft: weight of the teacher's answer, 0 or more.

    Raises:
        InputError: an argument is out of range.
    """

    start: float = 4.0
    most: float = 20.0
    hard: float = 0.3
    soft: float = 0.7

    def __post_init__(self) -> None:
        if not 1 < self.start < self.most:
            raise InputError(f"start must lie between 1 and most ({self.most!r}), but got {self.start!r}.")
        check_weights(hard=self.hard, soft=self.soft)

    def bind(self, pair: Pair) -> Bound:
        return _BoundTemperature(self)

    @property
    def reads_layers(self) -> bool:
        return False

    def of_outputs(self) -> OutputLoss | None:
        return SoftTargets(self.start, self.hard, self.soft)


class _BoundTemperature(Bound):
    def __init__(self, wish: LearnedTemperature) -> None:
        super().__init__()
        self._wish = wish
        share = (wish.start - 1) / (wish.most - 1)
        self.place = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self, step: Step) -> Tensor:
        strength = 1 - math.cos(math.pi / 2 * step.progress)
        temperature = 1 + (self._wish.most - 1) * torch.sigmoid(reversed_gradient(self.place, strength))
        loss = self._wish.hard * step.hard
        for name, head in answering(step):
            apart = divergence(step.student[name], step.teacher[name], head, temperature, step.mask(name))
            loss = loss + self._wish.soft * apart
        return loss
