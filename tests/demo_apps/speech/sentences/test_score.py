"""Error rates."""

from __future__ import annotations

import pytest

from demo_apps.speech.sentences import character_error_rate, word_error_rate, word_errors

SAID = [("A", "B", "C"), ("SIX",), ("GO", "ON")]


def test_errors_are_counted_over_all_words_together() -> None:
    answers = [["A", "C"], ["SIX", "TY"], ["GO", "OFF"]]  # one missing, one added, one wrong
    assert word_errors(SAID, answers).tolist() == [[1, 3], [1, 1], [1, 2]]
    score = word_error_rate(SAID, answers)
    assert score.value == pytest.approx(50)
    assert score.n == 3
    assert score.ci95[0] <= 50 <= score.ci95[1]


def test_all_right_and_nothing_understood() -> None:
    assert word_error_rate(SAID, SAID).ci95 == (0.0, 0.0)
    assert word_error_rate(SAID, [[], [], []]).value == 100


def test_characters_count_spaces() -> None:
    assert character_error_rate([("AB", "C")], [["AB", "D"]]) == pytest.approx(25)
