"""Word pairs."""

from __future__ import annotations

from math import exp

import pytest

from demo_apps.speech.sentences import Bigram

WORDS = ("A", "B", "OH", "ONE")
HEARD = [("A", "B"), ("ONE", "OH", "ONE"), ("A", "B", "A")]


@pytest.mark.parametrize("first", ["", *WORDS, "NEVER"])
def test_what_may_follow_adds_up_to_one(first: str) -> None:
    bigram = Bigram.of(HEARD, WORDS)
    assert sum(exp(bigram.log_probability(first, second)) for second in ("", *WORDS)) == pytest.approx(1)


def test_pairs_that_were_heard_are_likelier() -> None:
    bigram = Bigram.of(HEARD, WORDS)
    assert bigram.log_probability("ONE", "OH") > bigram.log_probability("ONE", "B")
    assert bigram.log_probability("A", "B") > bigram.log_probability("A", "OH")


def test_nothing_heard_means_all_alike() -> None:
    bigram = Bigram.of([], WORDS)
    assert exp(bigram.log_probability("A", "B")) == pytest.approx(1 / 5)
