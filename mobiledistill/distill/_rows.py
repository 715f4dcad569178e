"""Outputs as rows: what the losses of every family read, whatever the head and the mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from mobiledistill._task import Head
from mobiledistill.distill._base import Step

__all__ = ["answering", "answers", "divergence", "mean", "places", "samples", "total"]


def answering(step: Step) -> list[tuple[str, Head]]:
    """The outputs that answer something, and what; states are for the next call alone."""
    return [(name, output.head) for name, output in step.outputs.items() if output.head is not Head.STATE]


def samples(step: Step) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each output that answers something: one row a sample, ``(batch, values)``, the student's and the teacher's.

    Places that the mask leaves out are 0 in both.
    """
    for name, _ in answering(step):
        student, teacher = step.student[name], step.teacher[name]
        mask = step.mask(name)
        if mask is not None:
            weights = mask.to(student.dtype)
            weights = weights if weights.dim() == student.dim() else weights.unsqueeze(-1)
            student, teacher = student * weights, teacher * weights
        yield student.flatten(1), teacher.flatten(1)


def places(step: Step) -> Iterator[tuple[Tensor, Tensor, Head]]:
    """Of each output that answers something: one row a place, ``(places, categories)``, and what its numbers are.

    Places that the mask leaves out are missing; those of a weight between count as whole.
    """
    for name, head in answering(step):
        student, teacher = step.student[name], step.teacher[name]
        mask = step.mask(name)
        if mask is not None and mask.dim() == student.dim():  # of single entries: a row counts where any of it does
            student, teacher, mask = student * mask, teacher * mask, mask.amax(-1)
        if mask is None:
            yield student.flatten(0, -2), teacher.flatten(0, -2), head
        else:
            kept = mask > 0
            yield student[kept], teacher[kept], head


def answers(rows: Tensor, head: Head, temperature: float) -> Tensor:
    """Probabilities of rows of logits, softened; numbers of a regression as they are."""
    if head is Head.REGRESSION:
        return rows
    if head is Head.BINARY:
        return torch.sigmoid(rows / temperature)
    return functional.softmax(rows / temperature, dim=-1)


def divergence(
    student: Tensor, teacher: Tensor, head: Head, temperature: float | Tensor, mask: Tensor | None
) -> Tensor:
    """``T^2`` times how far the student's softened answers are from the teacher's; of numbers, the squared error."""
    if head is Head.REGRESSION:
        return mean((student - teacher).square(), mask)
    if head is Head.BINARY:
        target = torch.sigmoid(teacher / temperature)
        cross = functional.binary_cross_entropy_with_logits(student / temperature, target, reduction="none")
        entropy = functional.binary_cross_entropy(target, target, reduction="none")
        return mean(cross - entropy, mask) * temperature**2
    apart = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    return mean(apart, mask) * temperature**2


def mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the places that count; 0 where none does."""
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype)
    weights = weights if weights.dim() == values.dim() else weights.unsqueeze(-1).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1.0)


def total(step: Step, losses: list[Tensor]) -> Tensor:
    """The sum over outputs; 0, with a gradient of 0, where none answers anything."""
    return torch.stack(losses).sum() if losses else step.hard * 0
