"""Writing a translation token by token: the likeliest each time, or several at once (beam search).

Whatever answers as ``predict`` does is decoded, a module or a file. Every call pads to the longest text, since a file
takes one shape; sentences that have ended are asked no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo_apps.translation._translator import DECODER_LAYERS, HEAD_SIZE, HEADS, LONGEST_SOURCE, LONGEST_TARGET
from demo_apps.translation._vocabulary import BEGIN, END, PAD
from mobiledistill import Predict

__all__ = ["CACHES", "CACHE_SHAPE", "MEMORY", "MEMORY_SHAPE", "Decoder", "beam_search", "greedy", "padded"]

Floats = NDArray[np.float32]
Tokens = list[int]

MEMORY = tuple(f"memory_{part}_{layer}" for layer in range(DECODER_LAYERS) for part in ("keys", "values"))
"""What ``encode`` returns and ``step`` reads."""

CACHES = tuple(f"{part}_{layer}" for layer in range(DECODER_LAYERS) for part in ("keys", "values"))
"""What ``step`` reads, and returns as ``next_...`` for the next call."""

MEMORY_SHAPE = (LONGEST_SOURCE, HEADS * HEAD_SIZE)
CACHE_SHAPE = (LONGEST_TARGET, HEADS * HEAD_SIZE)

_GREEDY_BATCH = 256


def greedy(predict: Predict, sources: Sequence[Tokens], *, trimmed: bool = False) -> list[Tokens]:
    """Translates many texts, taking the likeliest token each time.

    Args:
        predict: a module or a file.
        sources: token numbers; what is longer than :data:`LONGEST_SOURCE` loses its end.
        trimmed: pads to the longest of each batch only, which modules take and files do not.

    Returns:
        The translations' tokens, without a beginning or an end.
    """
    answers: list[Tokens] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    for start in range(0, len(order), _GREEDY_BATCH):
        asked = np.array(order[start : start + _GREEDY_BATCH])
        decoder = Decoder(predict, _together([sources[index] for index in asked], trimmed))
        tokens = np.full(len(asked), BEGIN)
        for _ in range(LONGEST_TARGET):
            tokens = decoder.step(tokens).argmax(1)
            open_ = np.flatnonzero(tokens != END)
            if len(open_) < len(asked):
                asked, tokens = asked[open_], tokens[open_]
                decoder.keep(open_)
            if not len(asked):
                break
            for index, token in zip(asked, tokens, strict=True):
                answers[index].append(int(token))
    return answers


def beam_search(
    predict: Predict, sources: Sequence[Tokens], *, beams: int = 4, length_power: float = 0.8, trimmed: bool = False
) -> list[Tokens]:
    """Translates many texts, keeping the ``beams`` likeliest beginnings of each.

    A translation counts by its log-probability over its length to the power ``length_power`` (Wu et al. 2016). A text
    is done when as many have ended as there are beams, and the best of them counts more than any beginning does so far.
    """
    answers: list[Tokens] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    size = max(1, _GREEDY_BATCH // beams)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        found = _beam_batch(predict, _together([sources[index] for index in part], trimmed), beams, length_power)
        for index, tokens in zip(part, found, strict=True):
            answers[index] = tokens
    return answers


def _beam_batch(predict: Predict, sources: NDArray[np.int32], beams: int, length_power: float) -> list[Tokens]:
    texts = [_Beams(beams, length_power) for _ in sources]
    open_ = list(range(len(sources)))
    decoder = Decoder(predict, sources)
    for length in range(1, LONGEST_TARGET + 1):
        rows = [texts[index] for index in open_]
        scores = _log_softmax(decoder.step(np.array([token for text in rows for token in text.last_tokens])))
        ends = np.cumsum([0] + [len(text.beginnings) for text in rows])
        kept: list[int] = []
        still: list[int] = []
        for index, first, last in zip(open_, ends, ends[1:], strict=False):
            parents = texts[index].extend(scores[first:last], is_last=length == LONGEST_TARGET)
            if parents:
                still.append(index)
                kept.extend(int(first) + parent for parent in parents)
        open_ = still
        if not open_:
            break
        decoder.keep(np.array(kept))
    return [text.best for text in texts]


class _Beams:
    """The beginnings and the ended translations of one text."""

    def __init__(self, beams: int, length_power: float) -> None:
        self._beams = beams
        self._power = length_power
        self.beginnings: list[tuple[float, Tokens]] = [(0.0, [BEGIN])]
        self._ended: list[tuple[float, Tokens]] = []

    @property
    def last_tokens(self) -> list[int]:
        return [tokens[-1] for _, tokens in self.beginnings]

    @property
    def best(self) -> Tokens:
        return max(self._ended, key=lambda entry: entry[0])[1]

    def extend(self, scores: Floats, *, is_last: bool) -> list[int]:
        """Continues with the next token's log-probabilities; returns each new beginning's parent, none when done."""
        total = scores + np.array([[score] for score, _ in self.beginnings], np.float32)
        best = np.argpartition(total, -2 * self._beams, axis=None)[-2 * self._beams :]
        beginnings: list[tuple[float, Tokens]] = []
        parents: list[int] = []
        for rank, flat in enumerate(best[np.argsort(-total.flat[best])]):
            parent, token = divmod(int(flat), total.shape[1])
            tokens, score = self.beginnings[parent][1], float(total.flat[flat])
            if rank >= self._beams and (token == END or is_last):
                continue  # only what is among the best ends
            if token == END or is_last:
                written = tokens[1:] if token == END else [*tokens[1:], token]
                self._ended.append((score / self._weight(len(tokens)), written))
            elif len(beginnings) < self._beams:
                beginnings.append((score, [*tokens, token]))
                parents.append(parent)
        self.beginnings = beginnings
        return [] if is_last or self._is_done() else parents

    def _weight(self, length: int) -> float:
        return float(((5 + length) / 6) ** self._power)

    def _is_done(self) -> bool:
        if len(self._ended) < self._beams:
            return False
        score, tokens = self.beginnings[0]
        return max(self._ended)[0] >= score / self._weight(len(tokens))


class Decoder:
    """The states of texts that are being translated.

    Args:
        predict: a module or a file.
        source: token numbers, ``(n, places)``.

    Attributes:
        memory: what ``encode`` returned.
        caches: of what was written so far.
    """

    def __init__(self, predict: Predict, source: NDArray[np.int32]) -> None:
        self._predict = predict
        self._source = source
        self.memory: dict[str, NDArray[Any]] = dict(predict({"source": source}, "encode"))
        empty = np.zeros((len(source), *CACHE_SHAPE), np.float32)
        self.caches: dict[str, NDArray[Any]] = dict.fromkeys(CACHES, empty)
        self._position = 0

    def step(self, tokens: NDArray[np.int64]) -> Floats:
        """The logits of what follows the last tokens, ``(n, tokens)``."""
        inputs = {
            "token": tokens.astype(np.int32)[:, None],
            "position": np.full((len(tokens), 1), self._position, np.int32),
            "source": self._source,
            **self.memory,
            **self.caches,
        }
        outputs = self._predict(inputs, "step")
        self.caches = {name: outputs[f"next_{name}"] for name in CACHES}
        self._position += 1
        return np.asarray(outputs["logits"], np.float32)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Goes on with some of the texts; one may be named several times."""
        self._source = self._source[rows]
        self.memory = {name: value[rows] for name, value in self.memory.items()}
        self.caches = {name: value[rows] for name, value in self.caches.items()}


def _together(texts: Sequence[Tokens], trimmed: bool) -> NDArray[np.int32]:
    longest = min(LONGEST_SOURCE, max(1, *map(len, texts))) if trimmed else LONGEST_SOURCE
    return padded(texts, longest)


def padded(texts: Sequence[Tokens], length: int) -> NDArray[np.int32]:
    """Token numbers as ``(n, length)``, what is missing filled with 0 and what is too much cut off."""
    rows = np.full((len(texts), length), PAD, np.int32)
    for row, tokens in zip(rows, texts, strict=True):
        row[: min(len(tokens), length)] = tokens[:length]
    return rows


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result
