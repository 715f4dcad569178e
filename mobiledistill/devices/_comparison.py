"""Which of two files is faster, and how sure that is: only where both were measured alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters import InputError
from mobiledistill.devices._measurement import Measurement
from mobiledistill.devices._statistics import bootstrap, interval

__all__ = ["LatencyRatio", "latency_ratio"]


@dataclass(frozen=True)
class LatencyRatio:
    """How many times as long one file takes as another.

    Attributes:
        ratio: of the two latencies.
        ci95: its 95 % interval.
        forced: what was compared all the same; empty where the two were measured alike.
    """

    ratio: float
    ci95: tuple[float, float]
    forced: tuple[str, ...] = ()

    def __str__(self) -> str:
        low, high = self.ci95
        told = "no difference is shown" if low <= 1 <= high else "faster" if high < 1 else "slower"
        doubt = f"; compared all the same: {'; '.join(self.forced)}" if self.forced else ""
        return f"{self.ratio:.3f} times the latency ({low:.3f} to {high:.3f}): {told}{doubt}"


def latency_ratio(measured: Measurement, base: Measurement, *, force: bool = False) -> LatencyRatio:
    """Compares two measurements, and refuses those that do not compare.

    Measured in turns (``measure_interleaved``), what slowed one process down slowed both files, and the interval is
    that much narrower; measured one after the other, the two are resampled on their own.

    Example:
        >>> new, old = device.measure_interleaved([Subject(a, "tflite"), Subject(b, "tflite")])  # doctest: +SKIP
        >>> print(latency_ratio(new, old))  # doctest: +SKIP
        0.812 times the latency (0.803 to 0.822): faster

    Args:
        measured: of the file that the question is about.
        base: of the one that it is held against.
        force: compare all the same, and keep what speaks against it.

    Raises:
        InputError: they were taken on different devices or paths, by different runtimes, with different threads,
            batches or percentiles; or one of them is throttled, invalid or a prediction.
    """
    against = (*_differences(measured, base), *_doubts(measured), *_doubts(base))
    if against and not force:
        raise InputError(
            f"{measured.file} and {base.file} do not compare: {'; '.join(against)}. Measure both alike and in turns, or"
            " force it."
        )
    in_turns = measured.reference is not None and measured.reference == base.reference
    # The same seed draws the same processes and places in both.
    drawn = bootstrap(measured.samples_ms, measured.percentile, seed=0)
    held_against = bootstrap(base.samples_ms, base.percentile, seed=0 if in_turns else 1)
    fewest = min(len(measured.samples_ms), len(base.samples_ms))
    ratio = measured.latency_ms / max(base.latency_ms, np.finfo(float).tiny)
    return LatencyRatio(ratio, interval(drawn / np.maximum(held_against, np.finfo(float).tiny), fewest), against)


def _differences(measured: Measurement, base: Measurement) -> list[str]:
    """What the two were not taken alike in."""
    taken = [
        ("devices", measured.device.name, base.device.name),
        ("processors", measured.device.cpu, base.device.cpu),
        ("systems", measured.device.os, base.device.os),
        ("paths", measured.path_kind, base.path_kind),
        ("backends", measured.backend.asked, base.backend.asked),
        ("threads", measured.threads, base.threads),
        ("batches", measured.batch, base.batch),
        ("percentiles", measured.percentile, base.percentile),
    ]
    if measured.format == base.format:  # else it is runtimes that are compared
        taken.append(("runtimes", _runtime(measured), _runtime(base)))
    return [f"different {what}, {one} and {other}" for what, one, other in taken if one != other]


def _runtime(measured: Measurement) -> str:
    return f"{measured.runtime.name} {measured.runtime.version}"


def _doubts(measured: Measurement) -> list[str]:
    if measured.verdict == "valid":
        return []
    return [f"{measured.file} is {measured.verdict} ({'; '.join(measured.reasons)})"]
