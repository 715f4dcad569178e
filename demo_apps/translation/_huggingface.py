"""Translators from Hugging Face as teachers: sequence-level distillation (Kim and Rush 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from demo_apps._pretrained import Checkpoint, Kind, load_checkpoint
from demo_apps.translation._pairs import Pair
from demo_apps.translation._task import TranslationTask
from mobiledistill import InputError

__all__ = ["MarianTeacher", "TranslatingTeacher", "relabelled"]

_MARIAN = Kind("marian", "MarianMTModel", "MarianTokenizer")
_BATCH = 32


class TranslatingTeacher(Protocol):
    """Whatever translates texts."""

    def translate(self, texts: Sequence[str]) -> list[str]:
        """A translation of each text."""
        ...


@dataclass(frozen=True, eq=False)
class MarianTeacher:
    """``MarianMTModel``, one of the OPUS-MT translators (Tiedemann and Thottingal 2020).

    Attributes:
        checkpoint: the model and its tokenizer.
        beams: hypotheses that are followed; 1 is greedy.

    Example:
        >>> teacher = MarianTeacher.from_pretrained("Helsinki-NLP/opus-mt-en-de")  # doctest: +SKIP
        >>> teacher.translate(["Where is the station?"])  # doctest: +SKIP
        ['Wo ist der Bahnhof?']
    """

    checkpoint: Checkpoint
    beams: int = 4

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, beams: int = 4, revision: str | None = None
    ) -> MarianTeacher:
        """Loads a checkpoint from a folder that ``save_pretrained`` wrote, or by its name (and revision) on the hub.

        Raises:
            MissingExtraError: ``transformers`` is not installed.
            InputError: the checkpoint is missing, damaged or of another kind.
        """
        return cls(load_checkpoint(name_or_folder, _MARIAN, revision), beams)

    def translate(self, texts: Sequence[str]) -> list[str]:
        """A translation of each text; of a blank one, an empty text.

        Raises:
            InputError: a text has more tokens than the model has places for.
        """
        model, tokenizer = self.checkpoint.model, self.checkpoint.processor
        spoken = [text for text in texts if text.strip()]
        lengths = [len(tokens) for tokens in tokenizer(spoken)["input_ids"]] if spoken else []
        for text, length in zip(spoken, lengths, strict=True):
            if length > model.config.max_position_embeddings:
                raise InputError(
                    f"The text that begins {text[:40]!r} has {length} tokens, but the teacher reads"
                    f" {model.config.max_position_embeddings} at most: part it into sentences."
                )
        answers: dict[str, str] = {}
        order = sorted(range(len(spoken)), key=lengths.__getitem__)  # batches of like length are mostly text
        for start in range(0, len(order), _BATCH):
            batch = [spoken[place] for place in order[start : start + _BATCH]]
            tokens = model.generate(**tokenizer(batch, padding=True, return_tensors="pt"), num_beams=self.beams)
            answers |= zip(batch, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True)
        return [answers[text].strip() if text.strip() else "" for text in texts]


def relabelled(task: TranslationTask, teacher: TranslatingTeacher) -> TranslationTask:
    """The same task, learned from the teacher's translation of each training text; what is held out stays people's.

    Args:
        task: whose texts, vocabularies and held-out sentences stay.
        teacher: who translates them.

    Example:
        >>> transfer = relabelled(english_german(share=0.1), teacher)  # doctest: +SKIP

    Raises:
        InputError: the teacher answers nothing.
    """
    texts = list(dict.fromkeys(pair.source for pair in task.train))
    pairs = [Pair(text, answer) for text, answer in zip(texts, teacher.translate(texts), strict=True) if answer]
    if not pairs:
        raise InputError(f"The teacher answers none of {len(texts)} texts: give a teacher for English to German.")
    return task.with_pairs(pairs)
