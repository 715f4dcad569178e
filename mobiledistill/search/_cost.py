"""What a plan will cost, before its files exist: formulas, corrected by every file that was measured."""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from converters import Format
from mobiledistill.prune import LayerShape

__all__ = ["LATENCIES", "TILE", "Amounts", "CostModel", "Target", "amounts"]

Target = tuple[Format, str]
"""A format and the name of a limit, for example ``("tflite", "size_bytes")``."""


@dataclass(frozen=True)
class _Layout:
    """Bytes beside the weights.

    Attributes:
        channel: a bias; in integers its scale, the weights' scale and zero point too.
        layer: an operator, the tensors it reads and writes, their names.
        width: of each number of channels that layers have, once: what layers of one width share, by channel.
        alignment: what the places of weights and of biases are multiples of ...
        above: ... of those of more bytes than this; smaller ones lie within the model's text.
        apart: what each of those costs beside its own bytes: a head, and where to find it.
    """

    channel: float
    layer: float
    width: float = 0.0
    alignment: int = 1
    above: int = 0
    apart: float = 0.0

    def gap(self, held: int) -> float:
        """What lies beside the bytes of one layer's weights, or of its biases."""
        return -held % self.alignment + self.apart if held > self.above else 0.0


_FLOATS: dict[Format, _Layout] = {
    "tflite": _Layout(4.0, 130.0, alignment=16),
    "onnx": _Layout(4.1, 130.0),
    "coreml": _Layout(4.15, 320.0, alignment=64, above=1024, apart=165.0),
}
_INTEGERS: dict[Format, _Layout] = {
    "tflite": _Layout(11.8, 230.0, 8.2, alignment=16),  # layers of one width share their zero points
    "onnx": _Layout(9.2, 345.0),
    "coreml": _Layout(8.2, 900.0, alignment=64, above=1024, apart=90.0),
}
"""Measured on files of seven families of networks: benchmarks/prediction.py, whose page tells how well they fit."""

_BIAS_BYTES = 4
_INTEGER_BYTES = 1.0  # weights of so many bytes or fewer have scales
_MACS_PER_LAYER = 20_000.0  # as many as take the time that calling an operator takes
TILE = 8
"""Channels that kernels compute at once: 9 take the time of 16."""

LATENCIES = ("latency_ms", "latency_share")
"""The limits on time; both grow with the multiply-accumulates that kernels do."""

_FIXED_LATENCY_SHARE = 0.1  # before anything small was measured: this share of the latency does not shrink


@dataclass(frozen=True)
class Amounts:
    """What a network holds and does.

    Attributes:
        weights: how many there are; one that is stored in half the bits counts half.
        channels: output channels over all layers.
        macs: multiply-accumulates of one pass.
        tiled_macs: those that kernels do for them, which compute ``TILE`` channels at once, needed or not.
        layers: how many there are.
        parts: how many layers hold so many weights and write so many channels; (weights, channels).
    """

    weights: float = 0.0
    channels: float = 0.0
    macs: float = 0.0
    tiled_macs: float = 0.0
    layers: float = 0.0
    parts: Mapping[tuple[float, int], float] = field(default_factory=dict)

    def plus(self, other: Amounts, times: float = 1.0) -> Amounts:
        """The sum, the other one counted so many times."""
        parts = dict(self.parts)
        for part, count in other.parts.items():
            parts[part] = parts.get(part, 0.0) + times * count
        return Amounts(
            self.weights + times * other.weights,
            self.channels + times * other.channels,
            self.macs + times * other.macs,
            self.tiled_macs + times * other.tiled_macs,
            self.layers + times * other.layers,
            {part: count for part, count in parts.items() if count},
        )


def amounts(layers: Iterable[LayerShape], kept: Mapping[str, float] | None = None) -> Amounts:
    """The amounts of a network of which a plan keeps something.

    Args:
        layers: of the whole network.
        kept: of groups the share of channels (0 to 1), of blocks 0 or 1, of layers the rank of their product, of bits
            the share that a weight keeps; what is not named stays as it is.
    """
    kept = kept or {}
    macs, tiled = 0.0, 0.0
    parts: list[tuple[float, int]] = []
    for layer in layers:
        if any(kept.get(block, 1.0) == 0 for block in layer.blocks):
            continue
        writes = 1.0 if layer.writes is None else kept.get(layer.writes, 1.0)
        reads = 1.0 if layer.reads is None else kept.get(layer.reads, 1.0)
        rank = math.inf if layer.rank is None else kept.get(layer.rank, math.inf)
        dense = layer.weights * writes * reads
        stored = dense if rank == math.inf else min(dense, rank * (layer.reduced * reads + layer.expanded * writes))
        bits = 1.0 if layer.bits is None else kept.get(layer.bits, 1.0)
        passes = layer.macs / layer.weights
        channels = round(layer.channels * writes)
        # What a depthwise layer reads are other channels, in the same vector.
        filled_in = 1.0 if layer.reads is None else _tile(layer.channels_in * reads)
        filled_out = _tile(channels)
        macs += passes * stored
        if stored < dense:  # a product of two layers
            reduced, expanded = rank * layer.reduced * reads, rank * layer.expanded * writes
            tiled += passes * (reduced * filled_in + expanded * filled_out) * _tile(rank)
            # A table is followed by a layer that writes its columns; of a layer's two the first writes the rank.
            between, last = (round(rank), channels) if layer.channels else (0, round(layer.expanded * writes))
            parts += [(round(bits * reduced, 1), between), (round(bits * expanded, 1), last)]
        else:
            tiled += passes * stored * filled_in * filled_out
            parts.append((round(bits * stored, 1), channels))
    counted = {part: float(count) for part, count in Counter(parts).items()}
    weights, written = (float(sum(values)) for values in zip(*parts, strict=True)) if parts else (0.0, 0.0)
    return Amounts(weights, written, macs, tiled, float(len(parts)), counted)


def _tile(channels: float) -> float:
    """How many times more channels are computed, in whole tiles, than there are."""
    return TILE * math.ceil(round(channels) / TILE) / round(channels) if round(channels) else 1.0


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

    def knows(self, target: Target) -> bool:
        """Whether a prediction says anything: of time nothing is known before a first measurement."""
        return target[1] not in LATENCIES or bool(self.points.get(target))

    def predict(self, target: Target, network: Amounts) -> float:
        """The predicted quantity, in the unit of the target's limit."""
        raw = self._raw(target, network)
        points = self.points.get(target, [])
        if not points:
            return raw if self.knows(target) else 0.0
        if len(points) == 1:
            x, y = points[0]
            return y + self._prior_slope(target[1], x, y) * (raw - x)
        right = min(max(bisect(points, (raw, 0.0)), 1), len(points) - 1)
        (x0, y0), (x1, y1) = points[right - 1], points[right]
        return y0 + max(y1 - y0, 0.0) * (raw - x0) / (x1 - x0)

    def correct(self, target: Target, network: Amounts, measured: float) -> None:
        """Learns what a network really cost."""
        raw = self._raw(target, network)
        others = [point for point in self.points.get(target, []) if point[0] != raw]
        self.points[target] = sorted([*others, (raw, measured)])

    def _raw(self, target: Target, network: Amounts) -> float:
        format, name = target
        if name in LATENCIES:
            return network.tiled_macs + network.layers * _MACS_PER_LAYER
        layout = (_INTEGERS if self.bytes_per_weight <= _INTEGER_BYTES else _FLOATS)[format]
        stored = network.weights * self.bytes_per_weight
        shared = sum({channels for _, channels in network.parts}) * layout.width
        gaps = 0.0
        for (weights, channels), count in network.parts.items():
            for held in (math.ceil(weights * self.bytes_per_weight), _BIAS_BYTES * channels):
                gaps += count * layout.gap(held)
        return stored + network.channels * layout.channel + network.layers * layout.layer + shared + gaps

    def _prior_slope(self, name: str, raw: float, measured: float) -> float:
        if name in LATENCIES:
            return measured * (1 - _FIXED_LATENCY_SHARE) / max(raw, 1.0)
        return 1.0
