"""How good translations are: BLEU and chrF by ``sacrebleu``, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobiledistill import MissingExtraError

__all__ = ["bleu", "bleu_counts", "bleu_interval", "bleu_signature", "chrf", "paired_difference"]

Counts = NDArray[np.int64]

_ORDERS = 4
_RESAMPLES = 1000


def bleu_counts(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """What BLEU needs of each answer: matching and all n-grams of orders 1 to 4, lengths of it and of a reference.

    BLEU is a function of their sums, so they serve a whole set, any part of it, and every resample.

    Args:
        answers: one a sentence.
        references: one or more a sentence.

    Returns:
        Shape ``(sentences, 10)``.
    """
    metric = _sacrebleu().BLEU(effective_order=True)
    rows = []
    for answer, known in zip(answers, references, strict=True):
        score = metric.sentence_score(answer, list(known))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, np.int64).reshape(-1, 2 * _ORDERS + 2)


def bleu(counts: Counts) -> float:
    """The BLEU of a set, 0 to 100, as ``sacrebleu`` computes it."""
    correct, total, lengths = np.split(counts.sum(0), [_ORDERS, 2 * _ORDERS])
    return float(
        _sacrebleu().BLEU.compute_bleu(correct.tolist(), total.tolist(), int(lengths[0]), int(lengths[1])).score
    )


def bleu_interval(counts: Counts, seed: int = 0) -> tuple[float, float]:
    """Its 95 % interval, by bootstrap over sentences (Koehn 2004)."""
    low, high = np.quantile([bleu(sums) for sums in _resampled(counts, seed)], [0.025, 0.975])
    return float(low), float(high)


def paired_difference(ours: Counts, theirs: Counts, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """BLEU of one system less that of another on the same sentences, with its 95 % interval by paired bootstrap."""
    pairs = zip(_resampled(ours, seed), _resampled(theirs, seed), strict=True)
    low, high = np.quantile([bleu(one) - bleu(other) for one, other in pairs], [0.025, 0.975])
    return bleu(ours) - bleu(theirs), (float(low), float(high))


def bleu_signature(references: int) -> str:
    """What ``sacrebleu`` says of how BLEU was computed, for papers; 0 references: their number varies."""
    version = _sacrebleu().__version__
    return f"nrefs:{references or 'var'}|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"


def chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF2 (Popovic 2015), 0 to 100; the best of each sentence's references counts."""
    most = max(map(len, references))
    streams = [[known[n] if n < len(known) else None for known in references] for n in range(most)]
    return float(_sacrebleu().CHRF().corpus_score(list(answers), streams).score)


def _resampled(counts: Counts, seed: int) -> list[Counts]:
    """The sums of sets drawn from the sentences with replacement, each as a set of one row."""
    random = np.random.default_rng(seed)
    n = len(counts)
    often = random.multinomial(n, np.full(n, 1 / n), _RESAMPLES)
    return list((often @ counts)[:, None])


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise MissingExtraError("sacrebleu", "demos") from error
    return sacrebleu
