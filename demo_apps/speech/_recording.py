"""One spoken digit."""

from __future__ import annotations

from dataclasses import dataclass

from demo_apps.speech._features import Floats

__all__ = ["HELD_OUT_SPEAKER", "Recording"]

HELD_OUT_SPEAKER = "theo"
"""Who is never heard in training when the split is by speaker."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One spoken digit.

    Attributes:
        samples: the waveform at 8 kHz in -1..1, shape ``(samples,)``, float32.
        label: the digit, 0 to 9.
        speaker: who says it.
        index: which take of this digit by this speaker.
    """

    samples: Floats
    label: int
    speaker: str
    index: int

    @property
    def name(self) -> str:
        """How its file is called, without the ending: ``7_theo_12``."""
        return f"{self.label}_{self.speaker}_{self.index}"
