"""Soft targets: the student learns the teacher's whole answer, not only the right one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from converters import InputError
from mobiledistill._task import Head
from mobiledistill.distill._base import Loss, Step

__all__ = ["HardTargets", "SoftTargets"]


@dataclass(frozen=True)
class HardTargets(Loss):
    """The task's own loss on the true targets; no teacher."""

    def __call__(self, step: Step) -> Tensor:
        return step.hard


@dataclass(frozen=True)
class SoftTargets(Loss):
    """``hard * task loss + soft * T^2 * divergence(teacher at T, student at T)`` (Hinton, Vinyals, Dean 2015).

    You gain what the teacher knows about how classes resemble each other; it helps most where data are few or the
    student is small, and little in short trainings. What ships always runs at temperature 1. Categorical outputs
    ``(batch, classes)`` take the Kullback-Leibler divergence of softened softmaxes, binary ones that of softened
    sigmoids, regression the squared error (where the temperature has no meaning).

    Example:
        >>> loss = SoftTargets(temperature=20.0, hard=0.1, soft=0.9)  # the paper's classic mixture

    Args:
        temperature: divides logits before the softmax, above 0. Higher shows more of the small probabilities.
        hard: weight of the task's own loss, 0 or more.
        soft: weight of the teacher's answer, 0 or more. The factor T^2 keeps its gradients comparable at every T.

    Raises:
        InputError: an argument is out of range.
    """

    temperature: float = 4.0
    hard: float = 0.3
    soft: float = 0.7

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, but got {self.temperature!r}.")
        if not (self.hard >= 0 and self.soft >= 0 and self.hard + self.soft > 0):
            raise InputError(f"hard and soft must not be negative nor both 0, but got {self.hard!r}, {self.soft!r}.")

    def __call__(self, step: Step) -> Tensor:
        soft = torch.stack(
            [
                _divergence(step.student[name], step.teacher[name], output.head, self.temperature)
                for name, output in step.outputs.items()
            ]
        ).sum()
        return self.hard * step.hard + self.soft * soft


def _divergence(student: Tensor, teacher: Tensor, head: Head, temperature: float) -> Tensor:
    if head is Head.REGRESSION:
        return F.mse_loss(student, teacher)
    if head is Head.BINARY:
        target = torch.sigmoid(teacher / temperature)
        cross = F.binary_cross_entropy_with_logits(student / temperature, target)
        entropy = F.binary_cross_entropy(target, target)
        return (cross - entropy) * temperature**2
    return (
        F.kl_div(
            F.log_softmax(student / temperature, dim=-1).flatten(0, -2),
            F.log_softmax(teacher / temperature, dim=-1).flatten(0, -2),
            reduction="batchmean",
            log_target=True,
        )
        * temperature**2
    )
