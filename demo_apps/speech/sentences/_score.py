"""Word and character error rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters import MissingExtraError
from mobiledistill import Score

__all__ = ["character_error_rate", "word_error_rate", "word_errors"]

_RESAMPLES = 2000


def word_error_rate(references: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Score:
    """Word errors to 100 spoken words, over all sentences together, with a bootstrap interval over sentences.

    Args:
        references: what was said, word by word.
        answers: what was understood.
    """
    errors, words = word_errors(references, answers).T
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(words), (_RESAMPLES, len(words)))
    rates = 100 * errors[drawn].sum(1) / words[drawn].sum(1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return Score(float(100 * errors.sum() / words.sum()), len(words), (float(low), float(high)))


def word_errors(references: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Errors and spoken words of each sentence, shape ``(sentences, 2)``: wrong, missing and added words are errors."""
    process = _jiwer().process_words
    counts = []
    for reference, answer in zip(references, answers, strict=True):
        found = process(" ".join(reference), " ".join(answer))
        counts.append((found.substitutions + found.deletions + found.insertions, len(reference)))
    return np.array(counts, np.int64).reshape(-1, 2)


def character_error_rate(references: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """Character errors to 100 spoken characters, spaces among them."""
    said, understood = ([" ".join(words) for words in part] for part in (references, answers))
    return float(100 * _jiwer().cer(said, understood))


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError("jiwer", "demos") from error
    return jiwer
