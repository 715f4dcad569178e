"""From logits to words: the likeliest token in each frame, or the likeliest sentence of known words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log1p

import numpy as np

from demo_apps.speech.sentences._features import Floats
from demo_apps.speech.sentences._language import EDGE, Bigram
from demo_apps.speech.sentences._tokens import BLANK, Tokens

__all__ = ["DictionaryBeam", "greedy"]

_NEVER = -inf
_UNHEARD = -9.0  # logarithm of a token's probability below which it is not tried


def greedy(logits: Floats) -> list[int]:
    """The tokens of the likeliest path: repetitions and blanks taken out.

    Args:
        logits: shape ``(frames, tokens)``.
    """
    best = [int(token) for token in logits.argmax(axis=1)]
    return [token for before, token in zip([BLANK, *best], best, strict=False) if token not in (before, BLANK)]


@dataclass
class _Node:
    """A place in the dictionary: what has been spelled since the word began."""

    word: str | None = None
    next: dict[int, _Node] = field(default_factory=dict)


@dataclass
class _Hypothesis:
    """One sequence of tokens.

    Attributes:
        node: where its last word stands.
        words: the words before that one.
        language: logarithm of the probability of those words, weighted.
        blank: logarithm of the probability of all its paths that end in a blank.
        token: likewise of those that end in its last token.
    """

    node: _Node
    words: tuple[str, ...]
    language: float
    blank: float = _NEVER
    token: float = _NEVER

    @property
    def sound(self) -> float:
        return _added(self.blank, self.token)


class DictionaryBeam:
    """CTC prefix beam search (Graves 2012; Hannun et al. 2014) over the words of a dictionary only.

    The dictionary is a tree of tokens, so a hypothesis can go on only as some word does, and ends where a word ends.

    Args:
        tokens: the vocabulary.
        dictionary: the words.
        bigram: which word follows which; None: all alike.
        language_weight: what the logarithm of a word's probability counts.
        word_bonus: may be added for every word, since the bigram makes each cost probability; 0 without one.
            Both were chosen on the validation.
        width: hypotheses kept after each frame.
        tokens_per_frame: the likeliest tokens that are tried.
    """

    def __init__(
        self,
        tokens: Tokens,
        dictionary: Iterable[str],
        bigram: Bigram | None = None,
        *,
        language_weight: float = 0.1,
        word_bonus: float = 0.0,
        width: int = 16,
        tokens_per_frame: int = 12,
    ) -> None:
        self._root = _Node()
        for word in dictionary:
            node = self._root
            for token in tokens.of_word(word):
                node = node.next.setdefault(token, _Node())
            node.word = word
        self._bigram = bigram
        self._language_weight = language_weight
        self._word_bonus = word_bonus if bigram is not None else 0.0
        self._width = width
        self._tokens_per_frame = tokens_per_frame

    def __call__(self, logits: Floats) -> list[str]:
        """The words of one utterance.

        Args:
            logits: shape ``(frames, tokens)``.
        """
        wide = logits.astype(np.float64)
        logs = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
        beam: dict[tuple[int, ...], _Hypothesis] = {(): _Hypothesis(self._root, (), 0.0, blank=0.0)}
        for frame in logs.tolist():
            beam = self._best(self._after(beam, frame))
        finished = [done for hypothesis in beam.values() if (done := self._finished(hypothesis)) is not None]
        return list(max(finished, default=(0.0, ()))[1])

    def _after(
        self, beam: dict[tuple[int, ...], _Hypothesis], frame: list[float]
    ) -> dict[tuple[int, ...], _Hypothesis]:
        """The hypotheses after one more frame."""
        heard = [token for token, log in enumerate(frame) if log > _UNHEARD and token != BLANK]
        likely = sorted(heard, key=frame.__getitem__, reverse=True)[: self._tokens_per_frame]
        after: dict[tuple[int, ...], _Hypothesis] = {}
        for prefix, old in beam.items():
            same = after.setdefault(prefix, _Hypothesis(old.node, old.words, old.language))
            same.blank = _added(same.blank, old.sound + frame[BLANK])
            if prefix:
                same.token = _added(same.token, old.token + frame[prefix[-1]])
            for token in likely:
                repeated = bool(prefix) and token == prefix[-1]
                sound = (old.blank if repeated else old.sound) + frame[token]
                for node, words, language in self._steps(old, token) if sound > _NEVER else ():
                    new = after.setdefault((*prefix, token), _Hypothesis(node, words, language))
                    new.token = _added(new.token, sound)
        return after

    def _steps(self, old: _Hypothesis, token: int) -> Iterator[tuple[_Node, tuple[str, ...], float]]:
        """Where a token leads: on within the word, or to the next word where one ends."""
        if token in old.node.next:
            yield old.node.next[token], old.words, old.language
        elif old.node.word is not None and token in self._root.next:
            language = old.language + self._word_score(old.words, old.node.word)
            yield self._root.next[token], (*old.words, old.node.word), language

    def _best(self, after: dict[tuple[int, ...], _Hypothesis]) -> dict[tuple[int, ...], _Hypothesis]:
        ranked = sorted(after.items(), key=lambda item: item[1].sound + self._expected(item[1]), reverse=True)
        return dict(ranked[: self._width])

    def _expected(self, hypothesis: _Hypothesis) -> float:
        """What language says, the word that may just have ended included."""
        word = hypothesis.node.word
        return hypothesis.language + (0.0 if word is None else self._word_score(hypothesis.words, word))

    def _finished(self, hypothesis: _Hypothesis) -> tuple[float, tuple[str, ...]] | None:
        words: Sequence[str] = hypothesis.words
        if hypothesis.node is not self._root:
            if hypothesis.node.word is None:
                return None
            words = (*hypothesis.words, hypothesis.node.word)
        end = 0.0
        if self._bigram is not None:
            end = self._language_weight * self._bigram.log_probability(words[-1] if words else EDGE, EDGE)
        return hypothesis.sound + self._expected(hypothesis) + end, tuple(words)

    def _word_score(self, before: Sequence[str], word: str) -> float:
        if self._bigram is None:
            return self._word_bonus
        follows = self._bigram.log_probability(before[-1] if before else EDGE, word)
        return self._language_weight * follows + self._word_bonus


def _added(one: float, other: float) -> float:
    """The logarithm of the sum of two numbers given by their logarithms."""
    low, high = (one, other) if one < other else (other, one)
    return high if low == _NEVER else high + log1p(exp(low - high))
