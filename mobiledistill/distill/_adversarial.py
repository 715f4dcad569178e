"""Adversaries: one who tells student from teacher, and examples made to mislead the student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters import InputError
from mobiledistill._task import Head
from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step
from mobiledistill.distill._matching import layer_width, matched_layers, pooled
from mobiledistill.distill._reversal import reversed_gradient
from mobiledistill.distill._rows import answers, places
from mobiledistill.distill._soft_targets import SoftTargets

__all__ = ["AdversarialExamples", "Discriminator"]

_HIDDEN = 64
_MOST_ROWS = 1024


@dataclass(frozen=True)
class Discriminator(Loss):
    """A small network learns to tell the student's answers from the teacher's; the student learns to deceive it.

    Xu, Hsu and Huang (2018), by gradient reversal, so that one optimiser serves both. It judges the crowd and not the
    pairs: you gain answers that look like the teacher's as a whole; beside ``SoftTargets``, which compares each pair,
    it seldom adds much, and too large a weight makes training restless. 0.1 is a start.

    Example:
        >>> loss = SoftTargets() + 0.1 * Discriminator()
        >>> loss = SoftTargets() + 0.1 * Discriminator({"body.3": "stages.2"})

    Args:
        layers: judges the features of these layers, averaged over their places, instead of the outputs: paths in the
            student to paths in the teacher.

    Raises:
        InputError: when bound, where a layer does not exist.
    """

    layers: Mapping[str, str] | None = None

    def bind(self, pair: Pair) -> Bound:
        return _OutputJudge(pair) if self.layers is None else _LayerJudge(pair, self.layers)

    @property
    def reads_layers(self) -> bool:
        return self.layers is not None

    def of_outputs(self) -> OutputLoss | None:
        return None


@dataclass(frozen=True)
class AdversarialExamples(Loss):
    """``loss`` on the batch, and again on the batch moved to where the student errs most.

    By the fast gradient sign method (Goodfellow et al. 2015): inputs go ``epsilon`` of their own spread along the sign
    of the loss's gradient; the teacher answers them anew, so nothing wrong is taught. You gain transfer data exactly
    where student and teacher disagree, which helps where data are few, and smooth answers around each sample; you lose
    two more passes, three times the training's time. A cached teacher is asked every time. Integer inputs stay as they
    are.

    Example:
        >>> loss = AdversarialExamples(SoftTargets(), epsilon=0.05)

    Args:
        loss: what is learned in both places.
        epsilon: how far, as a share of the standard deviation of each input over the batch; above 0.
        weight: of the moved batch beside the real one, above 0.

    Raises:
        InputError: an argument is out of range.
    """

    loss: Loss = SoftTargets()  # noqa: RUF009  (frozen)
    epsilon: float = 0.05
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.weight > 0):
            raise InputError(f"epsilon and weight must be above 0, but got {self.epsilon!r} and {self.weight!r}.")

    def bind(self, pair: Pair) -> Bound:
        return _Moved(self.loss.bind(pair), self.epsilon, self.weight)

    @property
    def reads_layers(self) -> bool:
        return self.loss.reads_layers

    def of_outputs(self) -> OutputLoss | None:
        return self.loss.of_outputs()


class _Judge(nn.Sequential):
    """Says of each row whether it is the teacher's."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, _HIDDEN), nn.LeakyReLU(0.2), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, 1),
        )  # fmt: skip

    def dispute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """What both sides pay: the judge for errors, the student, whose gradient is turned round, for being found."""
        rows = torch.cat([reversed_gradient(student), teacher])
        truth = torch.cat([torch.zeros(len(student)), torch.ones(len(teacher))]).to(rows)
        said = self(rows).squeeze(-1)
        return functional.binary_cross_entropy_with_logits(said, truth) if len(rows) else rows.sum()


class _OutputJudge(Bound):
    def __init__(self, pair: Pair) -> None:
        super().__init__()
        widths = [output.shape[-1] for output in pair.outputs.values() if output.head is not Head.STATE]
        self.judges = nn.ModuleList(_Judge(width) for width in widths)

    def forward(self, step: Step) -> Tensor:
        losses = []
        for judge, (student, teacher, head) in zip(self.judges, places(step), strict=True):
            stride = -(-max(1, len(student)) // _MOST_ROWS)
            rows = (answers(part[::stride], head, 1.0) for part in (student, teacher))
            losses.append(judge.dispute(*rows))  # type: ignore[operator]
        return torch.stack(losses).sum() if losses else step.hard * 0


class _LayerJudge(Bound):
    def __init__(self, pair: Pair, layers: Mapping[str, str]) -> None:
        matched = matched_layers(pair, layers)
        super().__init__(*(tuple(dict.fromkeys(paths)) for paths in zip(*matched, strict=True)))
        self.pairs = matched
        widths = [(layer_width(pair.student_layers[a]), layer_width(pair.teacher_layers[b])) for a, b in matched]
        self.adaptors = nn.ModuleList(nn.Linear(student, teacher) for student, teacher in widths)
        self.judges = nn.ModuleList(_Judge(teacher) for _, teacher in widths)

    def forward(self, step: Step) -> Tensor:
        losses = []
        for adaptor, judge, (one, other) in zip(self.adaptors, self.judges, self.pairs, strict=True):
            student, teacher = pooled(step.student_layers[one]), pooled(step.teacher_layers[other])
            losses.append(judge.dispute(adaptor(student), teacher))  # type: ignore[operator]
        return torch.stack(losses).sum()


class _Moved(Bound):
    def __init__(self, loss: Bound, epsilon: float, weight: float) -> None:
        super().__init__(loss.student_layers, loss.teacher_layers)
        self.loss = loss
        self._epsilon = epsilon
        self._weight = weight

    def forward(self, step: Step) -> Tensor:
        loss: Tensor = self.loss(step)
        floats = [name for name, value in step.inputs.items() if value.is_floating_point()]
        if step.ask is None or not floats or not torch.is_grad_enabled():
            return loss
        start = {name: value.detach() for name, value in step.inputs.items()}
        watched = {name: value.clone().requires_grad_(name in floats) for name, value in start.items()}
        again = self.loss(step.ask(watched))
        slopes = torch.autograd.grad(again, [watched[name] for name in floats], allow_unused=True)
        moved = dict(start)
        for name, slope in zip(floats, slopes, strict=True):
            if slope is not None:
                moved[name] = start[name] + self._epsilon * start[name].std() * slope.sign()
        there: Tensor = self.loss(step.ask(moved))
        return loss + self._weight * there
