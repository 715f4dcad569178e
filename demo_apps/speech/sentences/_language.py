"""Which word follows which: counts of word pairs, smoothed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log

__all__ = ["EDGE", "Bigram"]

EDGE = ""
"""What comes before the first word and after the last."""


@dataclass(frozen=True)
class Bigram:
    """The probability of a word after another, from counts, by the method of Witten and Bell (1991).

    A pair that was never heard falls back on how common its second word is, and that on all words alike, the more so
    the more kinds of words have been heard after the first.

    Attributes:
        pairs: ``pairs[first][second]``: how often the second followed the first.
        words: the vocabulary, the edge of a sentence not among it.
    """

    pairs: Mapping[str, Mapping[str, int]]
    words: tuple[str, ...]

    @classmethod
    def of(cls, transcripts: Iterable[Sequence[str]], words: Iterable[str]) -> Bigram:
        """Counts the pairs of transcripts, the edges of sentences among them."""
        pairs: dict[str, dict[str, int]] = {}
        for transcript in transcripts:
            line = [EDGE, *transcript, EDGE]
            for first, second in pairwise(line):
                followers = pairs.setdefault(first, {})
                followers[second] = followers.get(second, 0) + 1
        return cls(pairs, tuple(words))

    def log_probability(self, first: str, second: str) -> float:
        """The natural logarithm of the probability that ``second`` follows ``first``."""
        followers = self.pairs.get(first, {})
        heard, kinds = sum(followers.values()), len(followers)
        common = self._common(second)
        return log((followers.get(second, 0) + kinds * common) / (heard + kinds) if heard else common)

    def _common(self, word: str) -> float:
        singles, heard = self._singles
        return (singles.get(word, 0) + len(singles) / (len(self.words) + 1)) / (heard + len(singles))

    @cached_property
    def _singles(self) -> tuple[dict[str, int], int]:
        singles: dict[str, int] = {}
        for followers in self.pairs.values():
            for word, count in followers.items():
                singles[word] = singles.get(word, 0) + count
        return (singles or {EDGE: 0}), sum(singles.values())
