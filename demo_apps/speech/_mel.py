"""Bands of equal width on the mel scale, for both front ends."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "mel_filters"]

Floats = NDArray[np.float32]


@cache
def mel_filters(bands: int, fft: int, rate: int, low_hz: float, high_hz: float) -> Floats:
    """Triangular filters, each reaching from the middle of the band below to that of the band above.

    Args:
        bands: how many.
        fft: samples of the transform whose power they sum.
        rate: samples a second.
        low_hz: where the lowest begins.
        high_hz: where the highest ends.

    Returns:
        Shape ``(bands, fft // 2 + 1)``, weights 0 to 1.
    """
    corners = _hertz(np.linspace(_mel(low_hz), _mel(high_hz), bands + 2))
    frequencies = np.linspace(0, rate / 2, fft // 2 + 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
