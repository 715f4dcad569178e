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
    sigmoids, regression the squared error (where the temperature has no meaning). Tokens of a sequence and frames of
    CTC are categories at each place; places that an output's mask leaves out do not count, and states are not
    compared.

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
        loss = self.hard * step.hard
        for name, output in step.outputs.items():
            if output.head is not Head.STATE:
                student, teacher = step.student[name], step.teacher[name]
                loss = loss + self.soft * _divergence(student, teacher, output.head, self.temperature, step.mask(name))
        return loss


def _divergence(student: Tensor, teacher: Tensor, head: Head, temperature: float, mask: Tensor | None) -> Tensor:
    if head is Head.REGRESSION:
        return _mean((student - teacher).square(), mask)
    if head is Head.BINARY:
        target = torch.sigmoid(teacher / temperature)
        cross = F.binary_cross_entropy_with_logits(student / temperature, target, reduction="none")
        entropy = F.binary_cross_entropy(target, target, reduction="none")
        return _mean(cross - entropy, mask) * temperature**2
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    return _mean(divergence, mask) * temperature**2


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the places that count; 0 where none does."""
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype)
    weights = weights if weights.dim() == values.dim() else weights.unsqueeze(-1).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1.0)
