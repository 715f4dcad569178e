"""Several losses at once: weights that are learned, and heads that help and do not ship."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._task import Head, Output
from mobiledistill.distill._base import Bound, BoundParts, Loss, OutputLoss, Pair, Step
from mobiledistill.distill._matching import layer_width, pooled
from mobiledistill.distill._soft_targets import SoftTargets

__all__ = ["AuxiliaryHead", "LearnedWeights"]


@dataclass(frozen=True, init=False)
class LearnedWeights(Loss):
    """``sum(exp(-s) * loss + s / 2)``, an ``s`` learned for each loss (Kendall, Gal and Cipolla 2018).

    A loss that cannot be brought down counts less and less. You gain weights for several tasks or heads that nobody
    has to tune together; where one loss matters more to you than it is easy, say so with a number of your own.

    Example:
        >>> loss = LearnedWeights(SoftTargets().on("label"), SoftTargets().on("box"))

    Args:
        losses: two or more.

    Raises:
        InputError: there are fewer than two.
    """

    losses: tuple[Loss, ...]

    def __init__(self, *losses: Loss) -> None:
        if len(losses) < 2:
            raise InputError(f"LearnedWeights weighs two losses or more against each other, but got {len(losses)}.")
        object.__setattr__(self, "losses", losses)

    def bind(self, pair: Pair) -> Bound:
        return _BoundWeights([loss.bind(pair) for loss in self.losses])

    @property
    def reads_layers(self) -> bool:
        return any(loss.reads_layers for loss in self.losses)

    def of_outputs(self) -> OutputLoss | None:
        rest = [loss for loss in (loss.of_outputs() for loss in self.losses) if loss is not None]
        total: Loss | None = None
        for loss in rest:
            total = loss if total is None else total + loss
        return None if total is None else total.of_outputs()


@dataclass(frozen=True)
class AuxiliaryHead(Loss):
    """Lets a layer in the middle answer too, through a linear head that is learned and thrown away.

    Deep supervision (Lee et al. 2015), here from the teacher's answers. You gain a shorter way for gradients into deep
    students and early layers that already tell classes apart; a shallow student has no middle that needs it. The layer
    is averaged over its places; heads are categorical or binary ones of shape ``(batch, classes)``, or regressions.

    Example:
        >>> loss = SoftTargets() + 0.3 * AuxiliaryHead("body.1")

    Args:
        layer: path in the student.
        loss: what the head learns; a loss of outputs.

    Raises:
        InputError: when bound, where the layer does not exist or no output has such a shape.
    """

    layer: str
    loss: OutputLoss = SoftTargets()  # noqa: RUF009  (frozen)

    def bind(self, pair: Pair) -> Bound:
        if self.layer not in pair.student_layers:
            raise InputError(
                f"The student has no layer {self.layer!r}; it has {', '.join(list(pair.student_layers)[:8])}."
            )
        heads = {
            name: output
            for name, output in pair.outputs.items()
            if len(output.shape) == 2 and output.head not in (Head.STATE, Head.SEQUENCE, Head.CTC)
        }
        if not heads:
            raise InputError("An AuxiliaryHead answers samples as a whole, but no output is of shape (batch, values).")
        return _BoundHead(self.layer, self.loss, pair.student_layers[self.layer], heads)

    def of_outputs(self) -> OutputLoss | None:
        return None


class _BoundWeights(BoundParts):
    def __init__(self, parts: list[Bound]) -> None:
        super().__init__(parts)
        self.spread = nn.Parameter(torch.zeros(len(parts)))

    def forward(self, step: Step) -> Tensor:
        losses = torch.stack([part(step) for part in self.parts])
        return ((-self.spread).exp() * losses + self.spread / 2).sum()


class _BoundHead(Bound):
    def __init__(self, layer: str, loss: OutputLoss, shape: tuple[int, ...], heads: dict[str, Output]) -> None:
        super().__init__((layer,))
        self._layer = layer
        self._loss = loss
        self._heads = heads
        self.answers = nn.ModuleList(nn.Linear(layer_width(shape), output.shape[1]) for output in heads.values())

    def forward(self, step: Step) -> Tensor:
        seen = pooled(step.student_layers[self._layer])
        said = {name: answer(seen) for name, answer in zip(self._heads, self.answers, strict=True)}
        hard = step.hard
        if step.hard_of is not None and self._heads.keys() == step.outputs.keys():
            hard = step.hard_of(said)
        teacher = {name: step.teacher[name] for name in self._heads if name in step.teacher}
        return self._loss(replace(step, student=said, teacher=teacher, outputs=self._heads, hard=hard))
