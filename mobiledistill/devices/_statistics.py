"""Percentiles of samples that come in processes, and how far to trust them.

Samples of one process share its memory layout and its moment, so they are not independent: an interval has to come
from resampling the processes first and the samples within them second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Samples", "bootstrap", "drift", "interval", "percentile", "percentile_interval"]

Samples = Sequence[Sequence[float]]
"""One sequence of milliseconds for each process, both in the order of time."""

RESAMPLES = 2000
_AT_ONCE = 4_000_000  # drawn values held in memory at the same time


def percentile(samples: Samples, q: float) -> float:
    """The percentile ``q`` (0 to 100) of all samples together."""
    return float(np.percentile(np.concatenate([np.asarray(process, dtype=float) for process in samples]), q))


def percentile_interval(samples: Samples, q: float, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a percentile, by bootstrap over processes, then samples."""
    return interval(bootstrap(samples, q, seed=seed), len(samples))


def bootstrap(samples: Samples, q: float, *, seed: int = 0) -> NDArray[np.float64]:
    """The percentile ``q`` of 2000 resamples: processes drawn with replacement, then samples within each."""
    random = np.random.default_rng(seed)
    counts = np.array([len(process) for process in samples])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    values = np.concatenate([np.asarray(process, dtype=float) for process in samples])
    draws = int(counts.max())
    rows = max(1, _AT_ONCE // (len(counts) * draws))
    parts = []
    for done in range(0, RESAMPLES, rows):
        shape = (min(rows, RESAMPLES - done), len(counts), draws)
        chosen = random.integers(len(counts), size=shape[:2])[..., None]
        inside = (random.random(shape) * counts[chosen]).astype(np.int64)
        drawn = values[starts[chosen] + inside].reshape(shape[0], -1)
        parts.append(np.percentile(drawn, q, axis=1))
    return np.concatenate(parts)


def interval(replicates: NDArray[np.float64], processes: int) -> tuple[float, float]:
    """The 95 % interval that bootstrap replicates over so many processes stand for.

    A bootstrap over few groups is too narrow, by the sqrt(n / (n - 1)) of a standard deviation and by the normal
    tail where Student's is due: over 5 processes the plain interval of a median holds the truth in 87 to 90 of 100
    cases. So the quantiles are taken further out, as Hesterberg's expanded percentile interval does.
    """
    tail = 0.025
    if processes > 1:
        tail = NormalDist().cdf(-math.sqrt(processes / (processes - 1)) * _student(processes - 1))
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def drift(samples: Samples) -> float:
    """Median of the last third over median of the first third of all samples in the order of time, minus 1.

    Example:
        >>> drift([[1.0, 1.0, 1.0], [1.1, 1.2, 1.2]])
        0.2
    """
    values = np.concatenate([np.asarray(process, dtype=float) for process in samples])
    third = max(1, len(values) // 3)
    first, last = np.median(values[:third]), np.median(values[-third:])
    return round(float(last / first - 1), 9) if first > 0 else 0.0


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: the normal one, corrected in powers of 1 / freedom.

    Within 0.3 % from 4 degrees of freedom on, within 2 % at 3; 1 and 2 have closed forms.
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 / math.sqrt(2 * 0.975 * 0.025)
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
