"""Whole sequences: what the teacher would have written, rather than how sure it was at each place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from converters import InputError
from mobiledistill._task import Head
from mobiledistill.distill._base import OutputLoss, Step
from mobiledistill.distill._rows import total

__all__ = ["BestPaths"]


@dataclass(frozen=True)
class BestPaths(OutputLoss):
    """The CTC loss on what the teacher understands: its likeliest token in each frame, repetitions and blanks out.

    Sequence-level distillation for CTC (Huang et al. 2018; Kim and Rush 2016 for translation, where the transfer set
    holds the teacher's sentences). Frame by frame a student must have its spikes where the teacher has them, which one
    of another delay cannot; here only the order counts. You gain that, and labels for speech that nobody transcribed;
    you lose what the teacher was unsure of, so it adds to ``SoftTargets`` rather than replacing it. Heads other than
    CTC are left alone.

    Example:
        >>> loss = SoftTargets() + 0.3 * BestPaths()

    Args:
        blank: the token that means nothing; 0 or more.

    Raises:
        InputError: ``blank`` is negative.
    """

    blank: int = 0

    def __post_init__(self) -> None:
        if self.blank < 0:
            raise InputError(f"blank must be a token's number, 0 or more, but got {self.blank!r}.")

    def __call__(self, step: Step) -> Tensor:
        losses = []
        for name, output in step.outputs.items():
            if output.head is Head.CTC:
                mask = step.mask(name)
                frames = step.student[name].new_full((len(step.student[name]),), step.student[name].shape[1])
                lengths = (frames if mask is None else mask.sum(1)).long()
                losses.append(self._one(step.student[name], step.teacher[name], lengths))
        return total(step, losses)

    def _one(self, student: Tensor, teacher: Tensor, frames: Tensor) -> Tensor:
        paths = []
        for row, count in zip(teacher.argmax(-1), frames.tolist(), strict=True):
            tokens = torch.unique_consecutive(row[:count])
            paths.append(tokens[tokens != self.blank])
        return functional.ctc_loss(
            student.log_softmax(-1).transpose(0, 1),
            torch.cat(paths),
            frames,
            torch.tensor([len(path) for path in paths], device=student.device),
            blank=self.blank,
            zero_infinity=True,
        )
