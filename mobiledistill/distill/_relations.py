"""Relations: how samples of a batch lie to each other, rather than what each of them is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mobiledistill.distill._base import OutputLoss, Step, check_temperature, check_weights
from mobiledistill.distill._rows import answers, places, samples, total

__all__ = ["Angles", "Correlations", "Distances", "Similarities"]

_TINY = 1e-8


@dataclass(frozen=True)
class Distances(OutputLoss):
    """``Huber(d(student) - d(teacher))``, ``d`` the distances between a batch's samples over their mean.

    Relational distillation, distance-wise (Park et al. 2019). You gain freedom of scale: a student whose answers are
    smaller, turned or shifted loses nothing, as long as what the teacher holds for alike stays alike. It says nothing
    about the answers themselves, so add it to ``SoftTargets``; on few classes, where answers already hold all there
    is to know, it helps little. A batch of one sample has no relations and costs 0.

    Outputs ``(batch, ...)`` count as one row a sample; masked places count as 0.

    Example:
        >>> loss = SoftTargets() + 0.5 * Distances()
    """

    def __call__(self, step: Step) -> Tensor:
        return total(step, [_huber(_distances(student), _distances(teacher)) for student, teacher in samples(step)])


@dataclass(frozen=True)
class Angles(OutputLoss):
    """``Huber(cos(student) - cos(teacher))`` over the angles of all triplets of a batch.

    Relational distillation, angle-wise (Park et al. 2019). It demands more than ``Distances`` and, as there, adds to
    ``SoftTargets``. Memory and time grow with the cube of the batch: 128 samples have two million triplets.
    A batch of fewer than three samples costs 0.

    Example:
        >>> loss = SoftTargets() + 0.5 * Distances() + Angles()
    """

    def __call__(self, step: Step) -> Tensor:
        return total(step, [_huber(_angles(student), _angles(teacher)) for student, teacher in samples(step)])


@dataclass(frozen=True)
class Similarities(OutputLoss):
    """``sum((G(student) - G(teacher))^2) / batch``, ``G`` the cosines between a batch's samples.

    Similarity-preserving distillation (Tung and Mori 2019), whose squared norm over ``batch^2`` is here over
    ``batch``, so that the loss of a sample does not shrink as batches grow. You gain what ``Distances`` gains; one
    matrix product makes it the cheapest relation.

    Example:
        >>> loss = SoftTargets() + Similarities()
    """

    def __call__(self, step: Step) -> Tensor:
        return total(step, [_squared(_cosines(student), _cosines(teacher)) for student, teacher in samples(step)])


@dataclass(frozen=True)
class Correlations(OutputLoss):
    """``between * (1 - r(rows)) + within * (1 - r(columns))``, ``r`` Pearson's correlation of student and teacher.

    DIST (Huang et al. 2022). Rows compare one answer's categories with each other, columns one category over the
    places of the batch. You gain tolerance: a student need not match the teacher's confidence, which a much larger
    teacher's it cannot, only its order and proportions. Where both are of one size ``SoftTargets`` says more.

    Categorical, sequence and CTC outputs are compared as probabilities at ``temperature``, binary ones as those of
    their sigmoids, regression as it is. The factor T^2 keeps gradients comparable.

    Example:
        >>> loss = HardTargets() + 2 * Correlations(temperature=4.0)

    Args:
        temperature: divides logits first, above 0.
        between: weight of the rows, 0 or more.
        within: weight of the columns, 0 or more.

    Raises:
        InputError: an argument is out of range.
    """

    temperature: float = 4.0
    between: float = 1.0
    within: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(between=self.between, within=self.within)

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for student_rows, teacher_rows, head in places(step):
            student, teacher = (answers(rows, head, self.temperature) for rows in (student_rows, teacher_rows))
            loss = self.between * _unlike(student, teacher) + self.within * _unlike(student.T, teacher.T)
            losses.append(loss * self.temperature**2)
        return total(step, losses)


def _distances(rows: Tensor) -> Tensor:
    """All distances but those of a sample to itself, over their mean, shape ``(batch * (batch - 1),)``."""
    count = len(rows)
    others = ~torch.eye(count, dtype=torch.bool, device=rows.device)
    squares = (rows.unsqueeze(0) - rows.unsqueeze(1)).square().sum(-1)[others]
    distances = squares.clamp_min(_TINY).sqrt()  # at 0 a root has no gradient
    return distances / distances.mean().clamp_min(_TINY) if count > 1 else distances


def _angles(rows: Tensor) -> Tensor:
    """Cosines at each sample between the directions to two others, shape ``(triplets,)``."""
    count = len(rows)
    directions = functional.normalize(rows.unsqueeze(0) - rows.unsqueeze(1), dim=-1)  # [i, j]: from i to j
    cosines = directions @ directions.transpose(1, 2)
    apart = ~torch.eye(count, dtype=torch.bool, device=rows.device)
    return cosines[apart.unsqueeze(0) & apart.unsqueeze(1) & apart.unsqueeze(2)]


def _cosines(rows: Tensor) -> Tensor:
    normalized = functional.normalize(rows, dim=-1)
    return normalized @ normalized.T


def _huber(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.smooth_l1_loss(student, teacher) if student.numel() else student.sum()


def _squared(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum() / len(student)


def _unlike(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the mean correlation of rows; rows of one entry, or of entries all alike, correlate with nothing."""
    student, teacher = (rows - rows.mean(-1, keepdim=True) for rows in (student, teacher))
    told = teacher.norm(dim=-1) > _TINY  # where the teacher tells nothing apart there is nothing to learn
    if not told.any():
        return student.sum() * 0
    return 1 - functional.cosine_similarity(student[told], teacher[told], dim=-1).mean()
