"""The front end: 16 kHz speech as 64 log-mel bands, one frame every 10 ms, in NumPy, frame by frame as it comes in."""

from __future__ import annotations

import numpy as np

from demo_apps.speech._mel import Floats, mel_filters

__all__ = ["FRAME_SECONDS", "MELS", "SAMPLE_RATE", "Floats", "log_mel"]

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
    filters = mel_filters(MELS, _FFT, SAMPLE_RATE, _LOWEST_HZ, _HIGHEST_HZ)
    logarithms: Floats = np.log(filters @ power.T + np.float32(_FLOOR))
    return logarithms
