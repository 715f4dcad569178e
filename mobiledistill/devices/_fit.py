"""From measured files to the time of any kernel: work per kind of kernel, then a smooth correction by size.

A file's time is the sum of its kernels' times. Of each kind the time is first a sum of amounts of work (calls,
multiply-accumulates with channels rounded up to what a kernel computes at once, values moved) with coefficients that
are not negative; a Gaussian process over the logarithms of the sizes then learns by which factor that is wrong where.
Both are fitted to whole files, so nothing but latencies of files is needed of a device.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters import Kernel

__all__ = ["Correction", "Fitted", "Hyper", "Problem", "Timed", "amounts"]

Floats = NDArray[np.float64]

_TILES = (8, 16, 32)
_DEPTHS = (4, 8)  # channels read at once: integers are multiplied in fours and eights
_ODD = 1.5  # how far apart, on the log scale, kernels lie whose channels fill those and whose do not
_VECTOR = 8  # channels that most kernels compute at once
_STEPS = 4
_MOST = 2.0  # of a correction, on the log scale
_SWEEPS = 200
_KNOWN_TO = 0.05
_MANIFOLD = 2.0
_LEAST_CALL = 0.3  # of a file's time, what a call may add even if other kinds' calls cost nothing ...
_LEAST = 0.003  # ... and any other work: from small kernels nobody learns what large ones cost


@dataclass(frozen=True)
class Timed:
    """A file's kernels and how long it took.

    Attributes:
        kernels: what the runtime calls.
        ms: the latency.
        weight: how much it counts beside the others; its error is taken to be that much smaller.
    """

    kernels: tuple[Kernel, ...]
    ms: float
    weight: float = 1.0


@dataclass(frozen=True)
class Hyper:
    """What the correction believes before it has seen anything.

    Attributes:
        spread: by how much, on the log scale, the sum of work is wrong at one size.
        offset: likewise for a kind of kernel as a whole.
        reach: over which factor of sizes (on the log scale) an error carries over.
        noise: relative error of one file's time.
    """

    spread: float = 0.3
    offset: float = 0.2
    reach: float = 1.0
    noise: float = 0.04


@dataclass(frozen=True)
class Correction:
    """Where a kind of kernel was measured, and how strongly each place pulls."""

    places: Floats
    pulls: Floats


@dataclass(frozen=True)
class Fitted:
    """Times of kernels by kind.

    Attributes:
        work: milliseconds for each amount of work, by kind.
        corrections: by kind.
        hyper: the correction's belief.
    """

    work: Mapping[str, Floats]
    corrections: Mapping[str, Correction]
    hyper: Hyper

    def ms(self, kernels: Sequence[Kernel]) -> list[float]:
        """The time of each kernel; of a kind never measured, that of the slowest kind that moves as many values."""
        return [self._ms(kernel) for kernel in kernels]

    def unknown(self, kernels: Sequence[Kernel]) -> tuple[str, ...]:
        """The kinds that were never measured."""
        return tuple(dict.fromkeys(kernel.kind for kernel in kernels if kernel.kind not in self.work))

    def _ms(self, kernel: Kernel) -> float:
        if kernel.kind not in self.work:
            same = [kind for kind in self.work if (_amounts_like(kind) == _amounts_like(kernel.kind))]
            calls = max(float(work[0]) for work in self.work.values())  # a call takes time, whatever is computed
            return max((float(self.work[kind] @ amounts(kernel)) for kind in same), default=calls)
        expected = float(self.work[kernel.kind] @ amounts(kernel))
        correction = self.corrections.get(kernel.kind)
        if correction is None:
            return expected
        near = _covariance(place(kernel)[None], correction.places, self.hyper)
        return expected * math.exp(min(_MOST, max(-_MOST, float((near @ correction.pulls)[0]))))


class Problem:
    """Files whose times are to be explained; what does not depend on beliefs is computed once."""

    def __init__(self, files: Sequence[Timed]) -> None:
        self._kernels = list(dict.fromkeys(kernel for file in files for kernel in file.kernels))
        index = {kernel: number for number, kernel in enumerate(self._kernels)}
        self._times = np.array([file.ms for file in files])
        self._weights = np.array([file.weight for file in files])
        self._calls = np.zeros((len(files), len(self._kernels)))
        for row, file in enumerate(files):
            for kernel in file.kernels:
                self._calls[row, index[kernel]] += 1.0
        self._work = _work(self._kernels, self._calls, self._times, self._weights)

    def fit(self, hyper: Hyper) -> Fitted:
        """The times of kernels."""
        kernels = self._kernels
        expected = np.array([float(self._work[kernel.kind] @ amounts(kernel)) for kernel in kernels])
        pulls = _pulls(kernels, expected, self._calls, self._times, self._weights, hyper)
        members: dict[str, list[int]] = defaultdict(list)
        for number, kernel in enumerate(kernels):
            members[kernel.kind].append(number)
        corrections = {
            kind: Correction(np.stack([place(kernels[number]) for number in numbers]), pulls[numbers])
            for kind, numbers in members.items()
        }
        return Fitted(self._work, corrections, hyper)


def amounts(kernel: Kernel) -> Floats:
    """Amounts of work: a call, and what grows with the sizes."""
    if not kernel.multiplies:
        ends = (kernel.channels_in, kernel.channels_out) if kernel.kind == "CALL" else (0, 0)
        return np.array([1.0, kernel.inputs, kernel.outputs, kernel.outputs * kernel.taps, *ends], dtype=float)
    depth, rows = kernel.channels_in * kernel.taps, kernel.positions
    tiles = [_up(kernel.channels_out, tile) * rows for tile in _TILES]
    rounded = [depth * tile for tile in tiles]
    deep = [_up(kernel.channels_in, tile) * kernel.taps * _up(kernel.channels_out, 16) * rows for tile in _DEPTHS]
    moved = [rows * depth, kernel.outputs, kernel.weights]
    left = rows * (kernel.channels_out % _VECTOR)  # what no vector holds is often computed one by one
    rest = [rows, tiles[1] / _TILES[1], kernel.channels_out, left, left * depth]
    return np.array([1.0, kernel.macs, *rounded, *deep, *moved, *rest], dtype=float)


def _up(count: int, tile: int) -> int:
    return -(-count // tile) * tile


def place(kernel: Kernel) -> Floats:
    """Where a kernel lies among those of its kind."""
    sizes = [kernel.positions, kernel.channels_out, kernel.channels_in * kernel.taps, kernel.inputs, kernel.width]
    left = 2 * (kernel.channels_out % 16) / 16, 2 * (kernel.channels_out % _VECTOR) / _VECTOR
    odd = _ODD if kernel.multiplies and kernel.channels_in % _DEPTHS[0] else 0.0  # another kernel is taken then
    return np.array([*(math.log(max(1, size)) for size in sizes), *left, 2 * kernel.stride, odd])


def _amounts_like(kind: str) -> bool:
    return Kernel(kind, 1, 1).multiplies


def _work(kernels: Sequence[Kernel], calls: Floats, times: Floats, weights: Floats) -> dict[str, Floats]:
    """Milliseconds for each amount of work, none below zero, that come nearest relative to each file's time."""
    columns: list[tuple[str, int]] = []
    blocks = []
    for kind in dict.fromkeys(kernel.kind for kernel in kernels):
        numbers = [number for number, kernel in enumerate(kernels) if kernel.kind == kind]
        block = calls[:, numbers] @ np.stack([amounts(kernels[number]) for number in numbers])
        blocks.append(block)
        columns += [(kind, number) for number in range(block.shape[1])]
    matrix = np.concatenate(blocks, axis=1) / times[:, None] * weights[:, None]
    groups = [(_group(kind), number) for kind, number in columns]
    pooled = list(dict.fromkeys(groups))
    shared = np.stack([matrix[:, [g == group for g in groups]].sum(axis=1) for group in pooled], axis=1)
    nothing, free = np.zeros(len(pooled)), np.ones(len(pooled))
    common = dict(zip(pooled, _not_negative(shared, weights, nothing, free), strict=True))
    least = np.array([_LEAST_CALL if number == 0 else _LEAST for _, number in columns])
    found = _not_negative(matrix, weights, np.array([common[group] for group in groups]), least)
    work: dict[str, list[float]] = defaultdict(list)
    for (kind, _), value in zip(columns, found, strict=True):
        work[kind].append(float(value))
    return {kind: np.array(values) for kind, values in work.items()}


def _group(kind: str) -> str:
    """Kinds that are expected to be alike before any of them was seen."""
    if kind in ("CALL", "XNNPACK"):
        return kind
    return f"{_amounts_like(kind)} {'int8' in kind}"


def _not_negative(matrix: Floats, target: Floats, expected: Floats, least: Floats) -> Floats:
    """Least squares without negative coefficients, by coordinate descent; what files do not tell is as expected.

    A coefficient may be several times the expected one. Where even that would add less to a file than its time is
    known to, it stays: else the smallest kernels would explain what is wrong with the largest.
    """
    scale = np.maximum(np.linalg.norm(matrix, axis=0), 1e-30)
    pull = (_KNOWN_TO / (_MANIFOLD * np.maximum(expected * scale, least))) ** 2
    scaled = matrix / scale
    gram = scaled.T @ scaled + np.diag(pull)
    found = expected * scale
    gradient = gram @ found - scaled.T @ target - pull * expected * scale
    for _ in range(_SWEEPS):
        for column in range(len(found)):
            moved = max(0.0, found[column] - gradient[column] / gram[column, column])
            if (step := moved - found[column]) != 0.0:
                gradient = gradient + gram[:, column] * step
                found[column] = moved
    unscaled: Floats = found / scale
    return unscaled


def _pulls(
    kernels: Sequence[Kernel], expected: Floats, calls: Floats, times: Floats, weights: Floats, hyper: Hyper
) -> Floats:
    """Weights of the correction at each measured kernel; Gauss-Newton on times that are sums of exponentials."""
    members: dict[str, list[int]] = defaultdict(list)
    for number, kernel in enumerate(kernels):
        members[kernel.kind].append(number)
    kinds = []  # kinds say nothing of each other: each has the files that it is in, and a covariance of its own
    for numbers in members.values():
        places = np.stack([place(kernels[number]) for number in numbers])
        rows = np.flatnonzero(calls[:, numbers].any(axis=1))
        kinds.append((np.array(numbers), rows, _covariance(places, places, hyper)))
    noise = np.diag((hyper.noise / weights) ** 2)
    correction, pulls = np.zeros(len(kernels)), np.zeros(len(kernels))
    for _ in range(_STEPS):
        parts = calls * (expected * np.exp(correction)) / times[:, None]
        wanted = 1.0 - parts.sum(axis=1) + parts @ correction
        system = noise.copy()
        for own, rows, covariance in kinds:
            mine = parts[np.ix_(rows, own)]
            system[np.ix_(rows, rows)] += mine @ covariance @ mine.T
        pulls = parts.T @ np.linalg.solve(system, wanted)
        for own, _, covariance in kinds:
            correction[own] = np.clip(covariance @ pulls[own], -_MOST, _MOST)
    return pulls


def _covariance(left: Floats, right: Floats, hyper: Hyper) -> Floats:
    squares = ((left[:, None] - right[None]) ** 2).sum(axis=-1) / hyper.reach**2
    found: Floats = hyper.offset**2 + hyper.spread**2 * np.exp(-0.5 * squares)
    return found
