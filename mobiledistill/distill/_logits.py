"""Logits: what the teacher says before any softmax, matched as numbers or in their order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mobiledistill._task import Head
from mobiledistill.distill._base import OutputLoss, Step, check_temperature
from mobiledistill.distill._rows import answering, divergence, mean, total

__all__ = ["SquaredLogits", "StandardizedTargets"]

_TINY = 1e-6


@dataclass(frozen=True)
class SquaredLogits(OutputLoss):
    """The mean squared difference of logits, each place's mean taken out first (Ba and Caruana 2014).

    What ``SoftTargets`` becomes as its temperature grows without bound. You gain the small logits, which hold most of
    what a teacher knows, and lose the filter against those that are noise: with a much smaller student the softmax
    does better. Binary logits and numbers of a regression keep their mean, which means something there.

    Example:
        >>> loss = 0.3 * HardTargets() + 0.7 * SquaredLogits()
    """

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for name, head in answering(step):
            apart = step.student[name] - step.teacher[name]
            if head not in (Head.BINARY, Head.REGRESSION):
                apart = apart - apart.mean(-1, keepdim=True)
            losses.append(mean(apart.square(), step.mask(name)))
        return total(step, losses)


@dataclass(frozen=True)
class StandardizedTargets(OutputLoss):
    """``T^2 * divergence(teacher, student)`` of logits divided by ``T`` times their own deviation (Sun et al. 2024).

    A temperature for each sample and for each side: the deviation of its logits. You gain a student that need not
    reach the teacher's range, only its proportions, at no cost; where both have the same range, ``SoftTargets`` is
    the same with less to tune. Only categories (also of sequences and of CTC) have a deviation to speak of; other
    outputs are left alone.

    Example:
        >>> loss = 0.3 * HardTargets() + 3 * StandardizedTargets(temperature=2.0)

    Args:
        temperature: divides the standardized logits, above 0.

    Raises:
        InputError: the temperature is not above 0.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for name, head in answering(step):
            if head not in (Head.BINARY, Head.REGRESSION):
                student, teacher = _standardized(step.student[name]), _standardized(step.teacher[name])
                losses.append(divergence(student, teacher, head, self.temperature, step.mask(name)))
        return total(step, losses)


def _standardized(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).add(_TINY).sqrt()
    standardized: Tensor = torch.div(centred, deviation)
    return standardized
