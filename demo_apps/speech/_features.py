"""The front end: one second of 8 kHz speech as 40 log-mel bands over 101 frames, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demo_apps.speech._mel import Floats, mel_filters

__all__ = ["FRAMES", "MELS", "SAMPLE_RATE", "Floats", "log_mel"]

SAMPLE_RATE = 8000
"""Samples a second of every recording."""
MELS = 40
"""Mel bands of a feature map."""
FRAMES = 101
"""Frames of a feature map: one every 10 ms, the first and the last centred on the ends of one second."""

_WINDOW = 200  # 25 ms
_HOP = 80  # 10 ms
_FFT = 256
_LOWEST_HZ = 60.0
_CLIP = _HOP * (FRAMES - 1)
_FLOOR = 1e-5  # of the loudest band of the clip: padding then looks like the quiet room around the word
_CHUNK = 256  # clips transformed at once, so that memory stays near 30 MB whatever the number of clips


def log_mel(clips: Sequence[Floats]) -> Floats:
    """Turns recordings of any length into log-mel maps of one size.

    Every recording is centred in one second (longer ones lose both ends), cut into 25 ms Hann windows every 10 ms,
    and its power is summed in 40 triangular bands between 60 Hz and 4 kHz. Each map is relative to its own loudest
    band and 50 dB deep, so the recording level does not matter.

    Args:
        clips: mono waveforms at 8 kHz, each of shape ``(samples,)``, any scale.

    Returns:
        Natural logarithms in about -11.5 to 0, shape ``(len(clips), 1, 40, 101)``, float32.
    """
    maps = np.empty((len(clips), 1, MELS, FRAMES), np.float32)
    for start in range(0, len(clips), _CHUNK):
        waves = np.stack([_centred(clip) for clip in clips[start : start + _CHUNK]])
        maps[start : start + len(waves), 0] = _log_mel_of_seconds(waves)
    return maps


def _centred(clip: Floats) -> Floats:
    """The clip in the middle of one second, with half a window of silence at both ends."""
    spare = len(clip) - _CLIP
    if spare > 0:
        clip = clip[spare // 2 : spare // 2 + _CLIP]
    second = np.zeros(_CLIP + _WINDOW, np.float32)
    start = _WINDOW // 2 + (_CLIP - len(clip)) // 2
    second[start : start + len(clip)] = clip
    return second


def _log_mel_of_seconds(waves: Floats) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(waves, _WINDOW, axis=1)[:, ::_HOP]
    spectrum = np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32), _FFT, axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = power @ mel_filters(MELS, _FFT, SAMPLE_RATE, _LOWEST_HZ, SAMPLE_RATE / 2).T
    loudest = np.maximum(bands.max((1, 2), keepdims=True), 1e-10)
    logarithms: Floats = np.log(bands / loudest + np.float32(_FLOOR))
    return logarithms.transpose(0, 2, 1)
