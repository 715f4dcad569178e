"""Outputs as rows: what the losses of every family read, whatever the head and the mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from mobiledistill._task import Head
from mobiledistill.distill._base import Step

__all__ = ["answers", "divergence", "places", "samples", "total"]


def samples(step: Step) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each output that answers something: one row a sample, ``(batch, values)``, the student's and the teacher's.

    Places that the mask leaves out are 0 in both.
    """
    for name in _answering(step):
        student, teacher = step.student[name], step.teacher[name]
        mask = step.mask(name)
        if mask is not None:
            weights = mask.to(student.dtype)
            weights = weights if weights.dim() == student.dim() else weights.unsqueeze(-1)
            student, teacher = student * weights, teacher * weights
        yield student.flatten(1), teacher.flatten(1)


def places(step: Step) -> Iterator[tuple[Tensor, Tensor, Head]]:
    """Of each output that answers something: one row a place, ``(places, categories)``, and what its numbers are.

    Places that the mask leaves out are missing.
    """
    for name in _answering(step):
        student, teacher = step.student[name], step.teacher[name]
        mask = step.mask(name)
        if mask is not None and mask.dim() == student.dim():  # of single entries: a row counts where any of it does
            student, teacher, mask = student * mask, teacher * mask, mask.amax(-1)
        if mask is None:
            yield student.flatten(0, -2), teacher.flatten(0, -2), step.outputs[name].head
        else:
            kept = mask > 0
            yield student[kept], teacher[kept], step.outputs[name].head


def answers(rows: Tensor, head: Head, temperature: float) -> Tensor:
    """Probabilities of rows of logits, softened; numbers of a regression as they are."""
    if head is Head.REGRESSION:
        return rows
    if head is Head.BINARY:
        return torch.sigmoid(rows / temperature)
    return functional.softmax(rows / temperature, dim=-1)


def divergence(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Kullback-Leibler's, of softmaxes of logits along ``dim``: the mean over the other axis of ``(rows, columns)``."""
    told, wanted = functional.log_softmax(student, dim), functional.log_softmax(teacher, dim)
    return functional.kl_div(told, wanted, reduction="none", log_target=True).sum(dim).mean()


def total(step: Step, losses: list[Tensor]) -> Tensor:
    """The sum over outputs; 0, with a gradient of 0, where none answers anything."""
    return torch.stack(losses).sum() if losses else step.hard * 0


def _answering(step: Step) -> list[str]:
    return [name for name, output in step.outputs.items() if output.head is not Head.STATE]
