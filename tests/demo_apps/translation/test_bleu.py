"""BLEU from counts is sacrebleu's own, and its intervals behave."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from demo_apps.translation._bleu import bleu, bleu_counts, bleu_interval, bleu_signature, chrf, paired_difference

REFERENCES = [
    ("Ich sehe den Hund.", "Den Hund sehe ich."),
    ("Wo ist mein Buch?",
     ),
    ("Er kauft heute ein Haus.", "Heute kauft er ein Haus.", "Er kauft sich heute ein Haus."),
]  # fmt: skip
ANSWERS = ["Ich sehe einen Hund.", "Wo ist das Buch?", "Heute kauft er ein Haus."]
STREAMS = [[known[n] if n < len(known) else None for known in REFERENCES] for n in range(3)]


def test_the_sum_of_counts_gives_sacrebleus_score_with_any_number_of_references() -> None:
    assert bleu(bleu_counts(ANSWERS, REFERENCES)) == pytest.approx(
        sacrebleu.BLEU().corpus_score(ANSWERS, STREAMS).score
    )
    assert chrf(ANSWERS, REFERENCES) == pytest.approx(sacrebleu.CHRF().corpus_score(ANSWERS, STREAMS).score)


def test_the_signature_is_sacrebleus() -> None:
    metric = sacrebleu.BLEU()
    metric.corpus_score(ANSWERS, [[known[0] for known in REFERENCES]])
    assert bleu_signature(1) == str(metric.get_signature())


def test_perfect_and_empty_answers() -> None:
    assert bleu(bleu_counts([known[-1] for known in REFERENCES], REFERENCES)) == pytest.approx(100)
    assert bleu(bleu_counts([""] * 3, REFERENCES)) == 0


def test_the_interval_holds_the_score_and_shrinks_with_more_sentences() -> None:
    counts = np.tile(bleu_counts(ANSWERS, REFERENCES), (10, 1))
    low, high = bleu_interval(counts)
    assert low < bleu(counts) < high
    more = bleu_interval(np.tile(counts, (10, 1)))
    assert more[1] - more[0] < (high - low) / 2
    assert bleu_interval(counts) == (low, high), "the same each time"


def test_a_system_does_not_differ_from_itself_and_pairing_narrows_the_interval() -> None:
    ours = np.tile(bleu_counts(ANSWERS, REFERENCES), (20, 1))
    assert paired_difference(ours, ours) == (0, (0, 0))

    theirs = ours.copy()
    theirs[::3, 0] -= 1  # one word fewer is right in every third sentence
    difference, (low, high) = paired_difference(ours, theirs)
    assert difference == pytest.approx(bleu(ours) - bleu(theirs))
    assert 0 < low < difference < high
    alone = bleu_interval(ours)
    assert high - low < (alone[1] - alone[0]) / 2
