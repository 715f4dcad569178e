"""Distributions: what a batch's answers are as a crowd, whichever sample gave which."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from converters import InputError
from mobiledistill._task import Head
from mobiledistill.distill._base import OutputLoss, Step, check_temperature
from mobiledistill.distill._rows import answers, divergence, places, total

__all__ = ["BatchDivergence", "MeanDiscrepancy", "SlicedWasserstein"]

_BANDWIDTHS = (0.25, 1.0, 4.0)
_MOST_PLACES = 512
_TINY = 1e-8


@dataclass(frozen=True)
class MeanDiscrepancy(OutputLoss):
    """The squared maximum mean discrepancy between the student's answers and the teacher's (Gretton et al. 2012).

    With Gaussian kernels as in neuron selectivity transfer (Huang and Wang 2017), of three widths around the median
    distance between the teacher's answers. You gain a loss for data that come unpaired: it asks that the student
    answers as often as the teacher in each way, not when. On paired data ``SoftTargets`` says more; beside it this
    changes little.

    Answers are probabilities (numbers of a regression as they are), one a place, at most 512 of a batch.

    Example:
        >>> loss = SoftTargets() + MeanDiscrepancy()
    """

    def __call__(self, step: Step) -> Tensor:
        return total(step, [_discrepancy(student, teacher) for student, teacher in _crowds(step)])


@dataclass(frozen=True)
class SlicedWasserstein(OutputLoss):
    """The squared Wasserstein-2 distance between the answers of student and teacher, along random directions.

    Sliced (Rabin et al. 2011): along a line, the cheapest way from one crowd to another matches them in order. You
    gain what ``MeanDiscrepancy`` gains, and a gradient where the crowds lie far apart and kernels see nothing.

    Answers are probabilities (numbers of a regression as they are), one a place, at most 512 of a batch.

    Example:
        >>> loss = SoftTargets() + SlicedWasserstein(directions=32)

    Args:
        directions: how many lines; 1 or more. More vary less from step to step.

    Raises:
        InputError: there is no direction.
    """

    directions: int = 32

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise InputError(f"directions must be 1 or more, but got {self.directions!r}.")

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for student, teacher in _crowds(step):
            lines = functional.normalize(torch.randn(student.shape[-1], self.directions, device=student.device), dim=0)
            lines = lines.to(student.dtype)
            apart = (student @ lines).sort(dim=0).values - (teacher @ lines).sort(dim=0).values
            losses.append(apart.square().mean() * student.shape[-1] if len(student) else apart.sum())
        return total(step, losses)


@dataclass(frozen=True)
class BatchDivergence(OutputLoss):
    """``T^2 * divergence(teacher at T, student at T)`` over the batch instead of the categories.

    For each category, which places of the batch are how much of it (multi-level logit distillation, Jin et al. 2023).
    You gain comparisons that ``SoftTargets`` never makes: which of two samples is more of a cat. It needs batches of
    several samples per category, and regressions, whose numbers are no scores, leave it 0.

    Example:
        >>> loss = SoftTargets() + BatchDivergence(temperature=4.0)

    Args:
        temperature: divides logits before the softmax, above 0.

    Raises:
        InputError: the temperature is not above 0.
    """

    temperature: float = 4.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for student, teacher, head in places(step):
            if head is Head.REGRESSION or not len(student):
                continue
            losses.append(divergence(student.T, teacher.T, Head.CATEGORICAL, self.temperature, None))
        return total(step, losses)


def _crowds(step: Step) -> list[tuple[Tensor, Tensor]]:
    """Answers of student and teacher, one a place; of many, an even choice."""
    crowds = []
    for student, teacher, head in places(step):
        stride = -(-max(1, len(student)) // _MOST_PLACES)
        crowds.append((answers(student[::stride], head, 1.0), answers(teacher[::stride], head, 1.0)))
    return crowds


def _discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    if not len(student):
        return student.sum()
    squares = _squares(teacher, teacher)
    width = squares[squares > 0].median() if bool((squares > 0).any()) else squares.new_tensor(1.0)

    def alike(first: Tensor, second: Tensor) -> Tensor:
        apart = _squares(first, second) / width.clamp_min(_TINY)
        return torch.stack([(-apart / factor).exp().mean() for factor in _BANDWIDTHS]).mean()

    return alike(student, student) + alike(teacher, teacher) - 2 * alike(student, teacher)


def _squares(first: Tensor, second: Tensor) -> Tensor:
    return (first.unsqueeze(1) - second.unsqueeze(0)).square().sum(-1)
