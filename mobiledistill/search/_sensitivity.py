"""Sensitivity: how much the loss rises with each cut, measured one cut at a time on a few batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn

from mobiledistill.prune import ChannelGroup, Run, Trials, without_blocks

__all__ = ["Sensitivity", "sensitivity"]

_SHARES = (0.75, 0.5, 0.25)
_BATCHES = 4


@dataclass(frozen=True)
class Sensitivity:
    """How the loss answers to one cut at a time.

    Attributes:
        loss: of the uncut module.
        rises: by group or block: what is kept, and by how much the loss then rises.
        seconds: what finding out took.
    """

    loss: float
    rises: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    seconds: float = 0.0


def sensitivity(
    module: nn.Module,
    run: Run,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    blocks: Sequence[str],
    losses: Callable[[nn.Module], Iterable[Tensor]],
    *,
    batches: int = _BATCHES,
) -> Sensitivity:
    """Cuts each group to three quarters, a half and a quarter, leaves each block out, and watches the loss.

    Args:
        module: a float module; not changed.
        run: runs the module on example inputs.
        groups: of channels, those with the lowest ``scores`` leave first.
        scores: one a channel, by group.
        blocks: paths of blocks that can be left out.
        losses: the losses of a module on some training batches, one after the other.
        batches: how many of these batches are looked at.
    """
    began = time.perf_counter()

    @torch.no_grad()
    def mean_loss(smaller: nn.Module) -> float:
        values = [float(loss) for loss in islice(losses(smaller.eval()), batches)]
        mean = sum(values) / len(values)
        return mean if math.isfinite(mean) else math.inf

    whole = mean_loss(module)
    rises: dict[str, dict[int, float]] = {}
    trials = Trials(module, run)
    for group in groups:
        order = scores[group.name].argsort(stable=True).tolist()
        for kept in dict.fromkeys(group.whole_blocks(share * group.channels) for share in _SHARES):
            if kept < group.channels:
                with trials.cut(group.name, sorted(order[: group.channels - kept])) as smaller:
                    rises.setdefault(group.name, {})[kept] = mean_loss(smaller) - whole
    for block in blocks:
        rises[block] = {0: mean_loss(without_blocks(module, [block])) - whole}
    return Sensitivity(whole, rises, time.perf_counter() - began)
