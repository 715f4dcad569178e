"""One spoken sentence."""

from __future__ import annotations

from dataclasses import dataclass

from demo_apps.speech.sentences._features import SAMPLE_RATE, Floats

__all__ = ["Corpus", "Utterance"]


@dataclass(frozen=True, eq=False)
class Utterance:
    """One spoken sentence.

    Attributes:
        samples: the waveform at 16 kHz in -1..1, shape ``(samples,)``, float32.
        words: what is said, in capital letters.
        speaker: who says it.
        name: how its file is called, without the ending.
    """

    samples: Floats
    words: tuple[str, ...]
    speaker: str
    name: str

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Corpus:
    """Sentences, split by speaker: nobody is heard in two splits.

    Attributes:
        train: what networks learn from.
        validation: what choices are made by.
        test: the official test.
        dictionary: the words that a listener may expect.
        source: one line for people: the folder, the download, or that it is synthetic.
        synthetic: whether the demo made the speech itself.
    """

    train: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    dictionary: tuple[str, ...]
    source: str
    synthetic: bool
