"""The front end: 16 kHz speech as 64 log-mel bands, one frame every 10 ms, in NumPy, frame by frame as it comes in."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME_SECONDS", "MELS", "SAMPLE_RATE", "Floats", "log_mel"]

Floats = NDArray[np.float32]

SAMPLE_RATE = 16_000
"""Samples a second that the front end reads."""
MELS = 64
"""Mel bands of a frame."""
FRAME_SECONDS = 0.01
"""From one frame to the next."""

_WINDOW = 400  # 25 ms
_HOP = 160
_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 40.0, 7600.0
_FLOOR = 2e-4  # of power, added: about the quiet room of the recordings, so that nothing below it is seen


def log_mel(samples: Floats) -> Floats:
    """Turns a recording into log-mel frames.

    Frame ``i`` looks at samples ``160 * i`` to ``160 * i + 399`` and at nothing else, neither at later samples nor at
    how loud the recording is as a whole: what has been heard so far can be turned into frames at once.

    Args:
        samples: a mono waveform at 16 kHz in -1..1, shape ``(samples,)``; one shorter than a window is filled up with
            silence.

    Returns:
        Natural logarithms of power in about -8.5 to 5, shape ``(64, frames)``, float32.
    """
    if len(samples) < _WINDOW:
        samples = np.concatenate([samples, np.zeros(_WINDOW - len(samples), np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32), _FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    logarithms: Floats = np.log(_mel_filters() @ power.T + np.float32(_FLOOR))
    return logarithms


@cache
def _mel_filters() -> Floats:
    """Triangles of equal width on the mel scale, shape ``(64, 257)``."""
    corners = _hertz(np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), MELS + 2))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
