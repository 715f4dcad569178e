"""Sentences that the demo makes itself where no recordings are at hand: synthetic digits, said one after another."""

from __future__ import annotations

import numpy as np

from demo_apps.speech._features import SAMPLE_RATE as LOW_RATE
from demo_apps.speech._recording import HELD_OUT_SPEAKER, Recording
from demo_apps.speech._synthetic import synthetic_recordings
from demo_apps.speech._wav import resampled
from demo_apps.speech.sentences._features import SAMPLE_RATE, Floats
from demo_apps.speech.sentences._utterance import Corpus, Utterance

__all__ = ["synthetic_corpus"]

_WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
_VALIDATION_SPEAKER = "george"
_SENTENCES_EACH = 60
_LONGEST = 5
_PAUSE_SECONDS = (0.02, 0.25)


def synthetic_corpus(seed: int = 0) -> Corpus:
    """Sixty sentences of up to five digits by each of six voices, the same for the same seed.

    Good for showing that everything runs where nothing can be fetched; error rates on it say little about real speech.

    Args:
        seed: of what is said and of what makes two takes differ.
    """
    by_speaker: dict[str, list[Recording]] = {}
    for recording in synthetic_recordings(seed):
        by_speaker.setdefault(recording.speaker, []).append(recording)
    said = {
        speaker: tuple(
            _sentence(takes, number, np.random.default_rng((seed, row, number))) for number in range(_SENTENCES_EACH)
        )
        for row, (speaker, takes) in enumerate(sorted(by_speaker.items()))
    }
    train = tuple(
        sentence
        for speaker, sentences in said.items()
        if speaker not in (HELD_OUT_SPEAKER, _VALIDATION_SPEAKER)
        for sentence in sentences
    )
    validation, test = said[_VALIDATION_SPEAKER], said[HELD_OUT_SPEAKER]
    source = "synthetic sentences of digits (no recordings found)"
    return Corpus(train, validation, test, tuple(sorted(_WORDS)), source, synthetic=True)


def _sentence(takes: list[Recording], number: int, random: np.random.Generator) -> Utterance:
    chosen = [takes[place] for place in random.integers(0, len(takes), random.integers(1, _LONGEST + 1))]
    parts: list[Floats] = []
    for take in chosen:
        pause = int(random.uniform(*_PAUSE_SECONDS) * SAMPLE_RATE)
        room = 0.01 * np.abs(take.samples).max() * random.standard_normal(pause)
        parts += [room.astype(np.float32), resampled(take.samples, LOW_RATE, SAMPLE_RATE)]
    words = tuple(_WORDS[take.label] for take in chosen)
    return Utterance(np.concatenate(parts), words, takes[0].speaker, f"{takes[0].speaker}-{number}")
