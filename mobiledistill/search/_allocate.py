"""The allocator: the least predicted loss within every limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from mobiledistill.prune import ChannelGroup, LayerShape
from mobiledistill.search._cost import CostModel, Target, amounts

__all__ = ["allocate"]


def allocate(
    groups: Sequence[ChannelGroup],
    layers: Sequence[LayerShape],
    importance: Mapping[str, Tensor],
    cost: CostModel,
    limits: Mapping[Target, float],
    *,
    least_channels: int = 2,
) -> dict[str, int] | None:
    """How many channels each group keeps, or None where even the narrowest model is predicted over a limit.

    The predicted loss of a plan is the sum over layers of ``-log(importance kept)`` of what they write: taking one
    more channel from a narrow group hurts more than from a wide one, and most from a trunk that many layers write.
    Channels leave one at a time, always those that cost the least predicted loss for what they bring towards the
    limits that are still broken. Then whatever still fits comes back.

    Args:
        groups: what can be cut.
        layers: the uncut model's layers.
        importance: one score a channel, by group; each group's sum to 1.
        cost: predicts each limit's quantity.
        limits: upper limits.
        least_channels: no group becomes narrower.
    """
    ordered = {name: scores.sort(descending=True).values.tolist() for name, scores in importance.items()}
    total = {group.name: group.channels for group in groups}
    blocks = {group.name: group.block for group in groups}
    writers = {group.name: len(group.writers) for group in groups}

    def predicted(kept: Mapping[str, int]) -> dict[Target, float]:
        network = amounts(layers, {name: channels / total[name] for name, channels in kept.items()})
        return {target: cost.predict(target, network) for target in limits}

    kept = dict(total)
    while broken := {target for target, value in predicted(kept).items() if value > limits[target]}:
        name = _cheapest_cut(ordered, writers, blocks, predicted, kept, broken, limits, least_channels)
        if name is None:
            return None
        kept[name] -= _stride(kept[name], blocks[name])
    return _refill(ordered, writers, blocks, predicted, kept, total, limits)


def _cheapest_cut(
    ordered: Mapping[str, list[float]],
    writers: Mapping[str, int],
    blocks: Mapping[str, int],
    predicted: Callable[[Mapping[str, int]], dict[Target, float]],
    kept: Mapping[str, int],
    broken: set[Target],
    limits: Mapping[Target, float],
    least_channels: int,
) -> str | None:
    now = predicted(kept)
    best, best_price = None, math.inf
    for name, channels in kept.items():
        fewer = channels - _stride(channels, blocks[name])
        if fewer < max(least_channels, blocks[name]):
            continue
        after = predicted({**kept, name: fewer})
        gain = sum((now[target] - after[target]) / (now[target] - limits[target]) for target in broken)
        loss = writers[name] * math.log(sum(ordered[name][:channels]) / sum(ordered[name][:fewer]))
        if gain > 0 and loss / gain < best_price:
            best, best_price = name, loss / gain
    return best


def _refill(
    ordered: Mapping[str, list[float]],
    writers: Mapping[str, int],
    blocks: Mapping[str, int],
    predicted: Callable[[Mapping[str, int]], dict[Target, float]],
    kept: dict[str, int],
    total: Mapping[str, int],
    limits: Mapping[Target, float],
) -> dict[str, int]:
    """Gives channels back while they fit: the last cut often frees more than was needed."""
    while True:
        candidates = []
        for name, channels in kept.items():
            if channels == total[name]:
                continue
            more = channels + blocks[name]
            after = predicted({**kept, name: more})
            if all(after[target] <= limit for target, limit in limits.items()):
                regained = writers[name] * math.log(sum(ordered[name][:more]) / sum(ordered[name][:channels]))
                candidates.append((regained, name))
        if not candidates:
            return kept
        name = max(candidates)[1]
        kept[name] += blocks[name]


def _stride(channels: int, block: int) -> int:
    """Wide groups shrink several blocks at a time, which changes nothing but the time this takes."""
    return block * max(1, channels // (48 * block))
