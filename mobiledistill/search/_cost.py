"""What a plan will cost, before its files exist: formulas, corrected by every file that was measured."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from converters import Format
from mobiledistill.prune import LayerShape

__all__ = ["LATENCIES", "Amounts", "CostModel", "Target", "amounts"]

Target = tuple[Format, str]
"""A format and the name of a limit, for example ``("tflite", "size_bytes")``."""

_BYTES_PER_CHANNEL = 12.0  # a float scale, a 32-bit bias and its scale
LATENCIES = ("latency_ms", "latency_share")
"""The limits on time; both grow with multiply-accumulates."""

_FIXED_LATENCY_SHARE = 0.1  # before anything small was measured: this share of the latency does not shrink


@dataclass(frozen=True)
class Amounts:
    """What a network holds and does: weights, output channels over all layers, multiply-accumulates of one pass."""

    weights: float
    channels: float
    macs: float

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.weights + other.weights, self.channels + other.channels, self.macs + other.macs)

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(self.weights - other.weights, self.channels - other.channels, self.macs - other.macs)


def amounts(layers: Iterable[LayerShape], kept: Mapping[str, float] | None = None) -> Amounts:
    """The amounts of a network whose groups keep the shares ``kept`` (0 to 1) of their channels, blocks 0 or 1."""
    weights = channels = macs = 0.0
    for layer in layers:
        if kept is not None and any(kept.get(block, 1.0) == 0 for block in layer.blocks):
            continue
        writes = 1.0 if kept is None or layer.writes is None else kept.get(layer.writes, 1.0)
        reads = 1.0 if kept is None or layer.reads is None else kept.get(layer.reads, 1.0)
        weights += layer.weights * writes * reads
        macs += layer.macs * writes * reads
        channels += layer.channels * writes
    return Amounts(weights, channels, macs)


@dataclass
class CostModel:
    """Predicts bytes, milliseconds and memory of a network.

    A raw estimate (stored bytes, or multiply-accumulates) is mapped to the measured quantity by a line through the
    points measured so far in this run, so each round predicts better than the last. Before the first measurement
    bytes are those of the numbers alone, and nothing is known of milliseconds, so they bind nothing.

    Attributes:
        bytes_per_weight: how a weight is stored.
        points: (raw, measured) pairs by target, sorted by raw.
    """

    bytes_per_weight: float
    points: dict[Target, list[tuple[float, float]]] = field(default_factory=dict)

    def predict(self, target: Target, network: Amounts) -> float:
        """The predicted quantity, in the unit of the target's limit."""
        raw = self._raw(target[1], network)
        points = self.points.get(target, [])
        if not points:
            return raw if target[1] not in LATENCIES else 0.0
        if len(points) == 1:
            x, y = points[0]
            return y + self._prior_slope(target[1], x, y) * (raw - x)
        right = min(max(bisect(points, (raw, 0.0)), 1), len(points) - 1)
        (x0, y0), (x1, y1) = points[right - 1], points[right]
        return y0 + max(y1 - y0, 0.0) * (raw - x0) / (x1 - x0)

    def correct(self, target: Target, network: Amounts, measured: float) -> None:
        """Learns what a network really cost."""
        raw = self._raw(target[1], network)
        others = [point for point in self.points.get(target, []) if point[0] != raw]
        self.points[target] = sorted([*others, (raw, measured)])

    def _raw(self, name: str, network: Amounts) -> float:
        if name in LATENCIES:
            return network.macs
        return network.weights * self.bytes_per_weight + network.channels * _BYTES_PER_CHANNEL

    def _prior_slope(self, name: str, raw: float, measured: float) -> float:
        if name in LATENCIES:
            return measured * (1 - _FIXED_LATENCY_SHARE) / max(raw, 1.0)
        return 1.0
