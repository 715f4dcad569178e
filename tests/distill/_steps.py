"""One training step, as losses see it."""

from __future__ import annotations

import torch
from torch import Tensor

from mobiledistill import Head, Output
from mobiledistill.distill import Loss, Pair, Step

__all__ = ["noise", "step_of", "told"]


def step_of(
    student: Tensor, teacher: Tensor, head: Head = Head.CATEGORICAL, mask: Tensor | None = None, hard: float = 0.0
) -> Step:
    outputs = {"logits": Output((1, *student.shape[1:]), head, mask=None if mask is None else "counts")}
    targets = {} if mask is None else {"counts": mask}
    return Step({"logits": student}, {"logits": teacher}, outputs, torch.tensor(hard, requires_grad=True), targets)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def told(loss: Loss, step: Step) -> Tensor:
    """What a loss of outputs says; one that draws at random draws the same each time."""
    torch.manual_seed(0)
    value: Tensor = loss.bind(Pair({}, {}, step.outputs))(step)
    return value
