"""Speech that the demo makes itself where no recordings are at hand: formants, buzz and noise, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo_apps.speech._features import SAMPLE_RATE, Floats
from demo_apps.speech._recording import Recording

__all__ = ["synthetic_recordings"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class _Sound:
    """A stretch of speech: its three resonances, how much buzz and hiss drive them, and how long it lasts."""

    formants: tuple[float, float, float]
    voice: float
    noise: float
    seconds: float


@dataclass(frozen=True)
class _Voice:
    """Who speaks: pitch in Hz, throat (formants times this), tempo (seconds times this), room noise and level."""

    name: str
    pitch: float
    throat: float
    tempo: float
    room: float
    level: float


_SOUNDS = {
    "I": _Sound((400, 1900, 2550), 1.0, 0.0, 0.09),
    "i": _Sound((290, 2250, 3000), 1.0, 0.0, 0.13),
    "e": _Sound((530, 1850, 2500), 1.0, 0.0, 0.11),
    "V": _Sound((640, 1200, 2400), 1.0, 0.0, 0.12),
    "a": _Sound((730, 1150, 2450), 1.0, 0.0, 0.12),
    "O": _Sound((560, 850, 2400), 1.0, 0.0, 0.13),
    "o": _Sound((430, 800, 2400), 1.0, 0.0, 0.12),
    "u": _Sound((310, 870, 2250), 1.0, 0.0, 0.13),
    "w": _Sound((300, 650, 2150), 0.7, 0.0, 0.06),
    "r": _Sound((330, 1150, 1550), 0.7, 0.0, 0.07),
    "n": _Sound((280, 1450, 2300), 0.4, 0.0, 0.09),
    "v": _Sound((250, 1100, 2100), 0.35, 0.1, 0.06),
    "z": _Sound((250, 1800, 3500), 0.3, 0.35, 0.09),
    "s": _Sound((2300, 3300, 3800), 0.0, 0.6, 0.12),
    "f": _Sound((1300, 2300, 3500), 0.0, 0.22, 0.10),
    "T": _Sound((1500, 2700, 3600), 0.0, 0.18, 0.09),
    "t": _Sound((2000, 3000, 3700), 0.0, 0.7, 0.03),
    "k": _Sound((1300, 2000, 3000), 0.0, 0.6, 0.03),
    "-": _Sound((500, 1500, 2500), 0.0, 0.0, 0.05),
}
_DIGITS = ("z i r o", "w V n", "t u u", "T r i", "f O r", "f a i v", "s I - k s", "s e v e n", "e i - t", "n a i n")
# The names are those of the real recordings, so that the same split by speaker works.
_VOICES = (
    _Voice("george", 115, 1.00, 1.00, 0.004, 0.30),
    _Voice("jackson", 98, 0.94, 1.15, 0.002, 0.50),
    _Voice("lucas", 130, 1.04, 1.25, 0.003, 0.25),
    _Voice("nicolas", 165, 1.10, 0.85, 0.006, 0.35),
    _Voice("theo", 122, 1.06, 0.92, 0.005, 0.05),
    _Voice("yweweler", 205, 1.16, 0.88, 0.003, 0.10),
)
_TAKES = range(3, 13)  # the official test takes 0 to 4, so a fifth of these is test
_SPREAD = 0.045  # how far two takes of one speaker lie apart, relative
_BANDWIDTHS = (70.0, 110.0, 160.0)
_FRAME = 40  # samples between two points of every track: 5 ms
_TILT_HZ = 500.0  # the buzz falls off above this


def synthetic_recordings(seed: int = 0) -> tuple[Recording, ...]:
    """Ten digits, six voices, ten takes: 600 recordings, the same for the same seed, in about two seconds.

    Good for showing that everything runs where nothing can be fetched; accuracy on it says little about real speech.

    Args:
        seed: of what makes two takes of one speaker differ.
    """
    return tuple(
        Recording(_speak(label, voice, np.random.default_rng((seed, label, number, take))), label, voice.name, take)
        for label in range(len(_DIGITS))
        for number, voice in enumerate(_VOICES)
        for take in _TAKES
    )


def _speak(label: int, voice: _Voice, random: np.random.Generator) -> Floats:
    sounds = [_SOUNDS[name] for name in _DIGITS[label].split()]
    seconds = [sound.seconds * voice.tempo * _near_one(random, 3 * _SPREAD) for sound in sounds]
    formants, drive = _tracks(sounds, seconds, voice.throat * _near_one(random, _SPREAD), random)
    pitch = voice.pitch * _near_one(random, 2 * _SPREAD) * np.linspace(1.08, 0.88, len(drive))
    wave = _buzz(formants, drive[:, 0], pitch) + _hiss(formants, drive[:, 1], random)
    wave = wave / np.abs(wave).max() * voice.level * _near_one(random, 4 * _SPREAD)
    wave += voice.room * voice.level * random.standard_normal(len(wave))
    samples: Floats = np.clip(wave, -1, 1).astype(np.float32)
    return samples


def _near_one(random: np.random.Generator, spread: float) -> float:
    return float(np.exp(np.clip(random.standard_normal(), -2, 2) * spread))


def _tracks(
    sounds: list[_Sound], seconds: list[float], throat: float, random: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Formants ``(frames, 3)`` in Hz and the two drives ``(frames, 2)``, gliding from sound to sound."""
    middles = np.cumsum(seconds) - np.array(seconds) / 2
    moments = np.arange(0, sum(seconds), _FRAME / SAMPLE_RATE)
    goals = np.array([sound.formants for sound in sounds]) * throat
    goals *= np.exp(_SPREAD * np.clip(random.standard_normal(goals.shape), -2, 2))
    formants = np.stack([np.interp(moments, middles, goals[:, k]) for k in range(3)], axis=1)
    which = np.searchsorted(np.cumsum(seconds), moments).clip(0, len(sounds) - 1)
    drive = np.array([[sound.voice, sound.noise] for sound in sounds])[which]
    glide = np.hanning(7)[1:-1] / np.hanning(7).sum()
    drive = np.stack([np.convolve(drive[:, k], glide, mode="same") for k in range(2)], axis=1)
    return np.minimum(formants, 0.48 * SAMPLE_RATE), drive


def _gain(hertz: Doubles, formants: Doubles) -> Doubles:
    """How much the throat lets through at ``hertz`` ``(frames, n)``: one resonance per formant, added."""
    gain = np.zeros_like(hertz)
    for number, bandwidth in enumerate(_BANDWIDTHS):
        away = (hertz - formants[:, number, None]) / bandwidth
        gain += (1.0, 0.6, 0.35)[number] / np.sqrt(1 + away**2)
    return gain


def _buzz(formants: Doubles, drive: Doubles, pitch: Doubles) -> Doubles:
    """The voiced part: harmonics of the pitch, each as loud as the throat makes it."""
    harmonics = np.arange(1, int(0.48 * SAMPLE_RATE / pitch.min()) + 1)
    hertz = pitch[:, None] * harmonics
    loudness = _gain(hertz, formants) / (1 + (hertz / _TILT_HZ) ** 2) ** 0.5 * drive[:, None]
    loudness[hertz > 0.48 * SAMPLE_RATE] = 0
    phase = 2 * np.pi * np.cumsum(np.repeat(pitch, _FRAME)) / SAMPLE_RATE
    return np.asarray((np.sin(phase[:, None] * harmonics) * np.repeat(loudness, _FRAME, axis=0)).sum(1))


def _hiss(formants: Doubles, drive: Doubles, random: np.random.Generator) -> Doubles:
    """The unvoiced part: noise, shaped in overlapping frames."""
    length = 2 * _FRAME
    hertz = np.broadcast_to(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), (len(drive), length // 2 + 1))
    wide = _gain(hertz / 4, formants / 4)  # four times the bandwidth of the voiced part
    noise = np.fft.rfft(random.standard_normal((len(drive), length)), axis=1)
    frames = np.fft.irfft(noise * wide * drive[:, None], length, axis=1) * np.hanning(length)
    out = np.zeros(len(drive) * _FRAME + _FRAME)
    out[:-_FRAME] += frames[:, :_FRAME].ravel()
    out[_FRAME:] += frames[:, _FRAME:].ravel()
    return out[: len(drive) * _FRAME]
