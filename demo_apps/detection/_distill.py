"""The distillation loss: the student answers with the teacher's scores, and with its boxes where it is sure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demo_apps.detection._boxes import generalized_iou
from mobiledistill import InputError
from mobiledistill.distill import OutputLoss, Step

__all__ = ["TeachersBoxes"]

_LEAST_SCORE = 0.05
_BOX_WEIGHT = 4.0


@dataclass(frozen=True)
class TeachersBoxes(OutputLoss):
    """``hard * task loss + soft * (divergence of scores + 4 * generalized IoU loss of boxes)``.

    You gain an answer for every cell: the teacher says how sure it is and where the box is, also for objects that
    nobody labelled and in mosaics that nobody could label. ``SoftTargets`` would do the same with the squared error
    of boxes in pixels, in which one large box outweighs ten small ones.

    Boxes count as much as the teacher's best score there, from 0.05 on; both parts are sums over cells divided by
    the sum of those scores, as in the task's own loss.

    Args:
        hard: weight of the task's own loss, 0 or more.
        soft: weight of the teacher's answer, 0 or more.

    Raises:
        InputError: a weight is negative, or both are 0.
    """

    hard: float = 0.5
    soft: float = 1.0

    def __post_init__(self) -> None:
        if not (self.hard >= 0 and self.soft >= 0 and self.hard + self.soft > 0):
            raise InputError(f"hard and soft must not be negative nor both 0, but got {self.hard!r}, {self.soft!r}.")

    def __call__(self, step: Step) -> Tensor:
        wanted = step.teacher["scores"].sigmoid()
        sure = wanted.amax(-1)
        total = sure.sum().clamp_min(1.0)
        cross = functional.binary_cross_entropy_with_logits(step.student["scores"], wanted, reduction="sum")
        entropy = functional.binary_cross_entropy(wanted, wanted, reduction="sum")
        counted = sure >= _LEAST_SCORE
        overlap = generalized_iou(step.student["boxes"][counted], step.teacher["boxes"][counted])
        misfit = ((1 - overlap) * sure[counted]).sum()
        soft: Tensor = torch.as_tensor((cross - entropy + _BOX_WEIGHT * misfit) / total)
        return self.hard * step.hard + self.soft * soft
