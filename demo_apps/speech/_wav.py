"""WAV files: those of a data set, which must be as promised, and those of users, which may be anything usual."""

from __future__ import annotations

import wave
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters import InputError, MissingExtraError

__all__ = ["corpus_samples", "resampled", "user_samples"]

Floats = NDArray[np.float32]

_LONGEST_SECONDS = 30
_RATES = (4_000, 192_000)
_MOST_CHANNELS = 8


def corpus_samples(path: Path, rate: int) -> Floats:
    """The samples of a data set's WAV file in -1..1: mono, 16 bits, at ``rate``.

    Raises:
        InputError: the file is anything else, or damaged.
    """
    (channels, width, found), data, frames = _read(path)
    if (channels, width, found) != (1, 2, rate):
        raise InputError(
            f"{path} has {channels} channel(s) of {8 * width} bits at {found} Hz, but a recording must have 1 of"
            f" 16 bits at {rate} Hz: convert it, or take it out of the folder."
        )
    return _floats(path, data, frames, channels, width)[:, 0]


def user_samples(path: Path, rate: int) -> tuple[Floats, str]:
    """The samples of any PCM WAV file in -1..1, mixed down and resampled to ``rate``, and what was done to it.

    Args:
        path: the file.
        rate: samples a second that are wanted.

    Returns:
        The waveform, shape ``(samples,)``, and words such as ``"2 channels mixed down, resampled from 44100 Hz"``,
        empty where nothing had to be done.

    Raises:
        InputError: there is no such file, or it is empty, damaged or no PCM WAV file.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; give a PCM WAV file.")
    (channels, width, found), data, frames = _read(path)
    if not (1 <= channels <= _MOST_CHANNELS and 1 <= width <= 4 and _RATES[0] <= found <= _RATES[1]):
        raise InputError(
            f"{path} has {channels} channel(s) of {8 * width} bits at {found} Hz, but may have 1 to {_MOST_CHANNELS} of"
            f" 8 to 32 bits at {_RATES[0]} to {_RATES[1]} Hz: convert it."
        )
    samples = _floats(path, data, frames, channels, width).mean(axis=1)
    done = [f"{channels} channels mixed down"] if channels > 1 else []
    if found != rate:
        samples = resampled(samples, found, rate)
        done.append(f"resampled from {found} Hz")
    return samples.astype(np.float32), ", ".join(done)


def resampled(samples: Floats, old_rate: int, rate: int) -> Floats:
    """A waveform at another rate, without what the lower of the two cannot carry."""
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise MissingExtraError("scipy", "demos") from error
    common = gcd(rate, old_rate)
    return np.asarray(resample_poly(samples, rate // common, old_rate // common), np.float32)


def _read(path: Path) -> tuple[tuple[int, int, int], bytes, int]:
    """Channels, bytes a sample and rate; the raw data; how many frames the header promises."""
    try:
        with path.open("rb") as file, wave.open(file) as wav:
            channels, width, rate, promised = wav.getparams()[:4]
            if promised > _LONGEST_SECONDS * rate:
                raise InputError(
                    f"{path} is {promised / rate:.0f} s long, but a recording may last {_LONGEST_SECONDS} s: cut it, or"
                    " take it out of the folder."
                )
            return (channels, width, rate), wav.readframes(promised), promised
    except EOFError as error:
        raise InputError(
            f"{path} ends within its header, so it was cut off: fetch it again, or take it out of the folder."
        ) from error
    except wave.Error as error:
        raise InputError(
            f"{path} is not a PCM WAV file ({error}): fetch it again, or take it out of the folder."
        ) from error


def _floats(path: Path, data: bytes, promised: int, channels: int, width: int) -> Floats:
    """Samples in -1..1, shape ``(frames, channels)``."""
    if len(data) < width * channels * promised:
        raise InputError(
            f"{path} holds {len(data) // (width * channels)} of the {promised} samples that its header promises, so it"
            " was cut off: fetch it again, or take it out of the folder."
        )
    if promised == 0:
        raise InputError(
            f"{path} holds no samples, but a recording must hold some: fetch it again, or take it out of the folder."
        )
    if width == 1:  # the one width without a sign
        numbers = np.frombuffer(data, np.uint8).astype(np.float32) - 128
    elif width == 3:
        bytes_of = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        numbers = ((bytes_of[:, 0] << 8 | bytes_of[:, 1] << 16 | bytes_of[:, 2] << 24) >> 8).astype(np.float32)
    else:
        numbers = np.frombuffer(data, f"<i{width}").astype(np.float32)
    return (numbers / np.float32(2 ** (8 * width - 1))).reshape(-1, channels)
