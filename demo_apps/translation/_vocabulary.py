"""The vocabulary of a language: pieces of words, learned by ``sentencepiece`` from training text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mobiledistill import InputError, MissingExtraError

__all__ = ["BEGIN", "END", "PAD", "UNKNOWN", "Vocabulary"]

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""Token numbers that stand for no piece of a word."""

_COVERAGE = 0.9998  # share of the characters that get a token; the rest are unknown


class Vocabulary:
    """Text to token numbers and back.

    Args:
        model: what ``sentencepiece`` keeps of it.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._pieces: Any = _sentencepiece().SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(f"This vocabulary is damaged ({str(error).splitlines()[0]}): make it anew.") from error

    @classmethod
    def learn(cls, lines: Iterable[str], size: int) -> Vocabulary:
        """Learns byte-pair pieces (Sennrich et al. 2016) from lines of text; the same lines give the same pieces.

        Args:
            lines: each counts once, however often it comes.
            size: how many pieces at most; a small text gives fewer.
        """
        written = io.BytesIO()
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(dict.fromkeys(lines)),
            model_writer=written,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=_COVERAGE,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            num_threads=1,
            minloglevel=2,
        )
        return cls(written.getvalue())

    @classmethod
    def read(cls, file: Path) -> Vocabulary:
        """Reads the model that ``compress`` wrote beside the files.

        Raises:
            InputError: there is none, or it is damaged.
        """
        try:
            return cls(file.read_bytes())
        except OSError as error:
            raise InputError(f"The vocabulary {file} cannot be read ({error.strerror}): run the demo again.") from error

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """The text's tokens, without a beginning or an end."""
        return list(self._pieces.encode(text))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of many texts."""
        return list(self._pieces.encode(list(texts)))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; those that stand for no piece of a word are left out."""
        return str(self._pieces.decode([int(token) for token in tokens if token > END]))

    def unknown_in(self, text: str) -> list[str]:
        """The characters of a text that have no token."""
        return [c for c in dict.fromkeys(text) if not c.isspace() and UNKNOWN in self.encode(c)]


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtraError("sentencepiece", "demos") from error
    return sentencepiece
