"""What the network writes: words that are common in training as one token each, the rest spelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

__all__ = ["BLANK", "Tokens"]

BLANK = 0
"""The token that means: nothing new."""

_SPELL = "_"  # starts a spelled word
_ENDINGS = ("TEEN", "TY", "TH")  # SIX, SIX-TEEN, SIX-TY, SIX-TY, SIX-TEEN-TH: heard often, though each word is rare
_SHORTEST_STEM = 3
_COMMON = 8


@dataclass(frozen=True)
class Tokens:
    """The vocabulary, fixed when the training transcripts were counted.

    A word is its stem and then its endings (``SEVENTEENTH`` = ``SEVEN -TEEN -TH``). A stem heard at least eight times
    in training is one token; a rarer one is spelled (``MAY`` = ``_ -M -A -Y``), so any word can be written. A
    spoken letter is a word of its own (``M``) and another token than the letter in a spelled word (``-M``).

    Attributes:
        names: by token number; 0 is the blank, ``-`` marks what belongs to the word before it.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, transcripts: Iterable[Sequence[str]]) -> Tokens:
        """The vocabulary of training transcripts."""
        counts = Counter(_parts(word)[0] for words in transcripts for word in words)
        stems = sorted(stem for stem, count in counts.items() if count >= _COMMON)
        inner = sorted("-" + part for part in (*_ENDINGS, *ascii_uppercase, "'"))
        return cls(("<blank>", *stems, _SPELL, *inner))

    def __len__(self) -> int:
        return len(self.names)

    def of_word(self, word: str) -> tuple[int, ...]:
        """The tokens of a word of capital letters."""
        stem, *endings = _parts(word)
        number = {name: place for place, name in enumerate(self.names)}
        start = [stem] if stem in number else [_SPELL, *("-" + letter for letter in stem)]
        return tuple(number[name] for name in [*start, *("-" + ending for ending in endings)])

    def encode(self, words: Sequence[str]) -> list[int]:
        """The tokens of a sentence."""
        return [token for word in words for token in self.of_word(word)]

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """The words that tokens spell; an inner part without a beginning starts a word itself."""
        words: list[str] = []
        for token in tokens:
            name = self.names[token]
            if name.startswith("-") and words:
                words[-1] += name[1:]
            elif token != BLANK:
                words.append("" if name == _SPELL else name.removeprefix("-"))
        return [word for word in words if word]


def _parts(word: str) -> list[str]:
    """A word's stem and endings."""
    endings: list[str] = []
    while True:
        ending = next((e for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= _SHORTEST_STEM), None)
        if ending is None:
            return [word, *endings]
        word = word.removesuffix(ending)
        endings.insert(0, ending)
