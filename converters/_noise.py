"""How far values are from others, in dB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_DB", "sqnr_db"]

MOST_DB = 200.0
"""Equal answers would have no noise at all."""


def sqnr_db(reference: NDArray[np.generic], answers: NDArray[np.generic]) -> float:
    """Signal to quantization noise ratio, the mean taken off; -200 to 200, -200 where only the answers are not finite.

    What is not finite in the reference must be so in the answers, and is no signal.
    """
    ours, theirs = np.asarray(reference, np.float64), np.asarray(answers, np.float64)
    if ours.shape != theirs.shape:
        return -MOST_DB
    finite = np.isfinite(ours)
    if not finite.all():
        if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return -MOST_DB
        ours, theirs = ours[finite], theirs[finite]
    if not np.isfinite(theirs).all():
        return -MOST_DB
    if not ours.size:
        return MOST_DB
    signal = float(np.mean((ours - ours.mean()) ** 2))
    noise = float(np.mean((ours - theirs) ** 2))
    if noise == 0:
        return MOST_DB
    floor = 1e-12 * max(float(np.mean(ours**2)), 1e-12)  # outputs that vanish carry no signal to lose
    return max(-MOST_DB, min(MOST_DB, 10 * float(np.log10(max(signal, floor) / noise))))
