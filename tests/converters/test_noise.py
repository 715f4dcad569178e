from __future__ import annotations

import numpy as np
import pytest

from converters._noise import MOST_DB, sqnr_db

SIGNAL = np.array([3.0, 1.0, 3.0, 1.0])


def test_noise_a_tenth_of_the_signal_costs_all_but_20_db() -> None:
    assert sqnr_db(SIGNAL, SIGNAL + np.array([0.1, -0.1, 0.1, -0.1])) == pytest.approx(20)
    assert sqnr_db(SIGNAL, SIGNAL) == MOST_DB


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_answer(lost: float) -> None:
    answers = SIGNAL.copy()
    answers[2] = lost
    assert sqnr_db(SIGNAL, answers) == -MOST_DB


def test_infinities_of_the_reference_are_due() -> None:
    masked = np.array([3.0, -np.inf, 1.0])
    assert sqnr_db(masked, masked) == MOST_DB
    assert sqnr_db(masked, np.array([3.0, -1e4, 1.0])) == -MOST_DB
    assert sqnr_db(masked, np.array([3.1, -np.inf, 0.9])) == pytest.approx(20)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_answers_have_no_noise_even_where_they_never_vary(value: float) -> None:
    assert sqnr_db(np.full(4, value), np.full(4, value)) == MOST_DB
    assert sqnr_db(np.zeros(4), np.full(4, 1e-3)) < 0


def test_another_shape_is_not_spread_over_the_reference() -> None:
    assert sqnr_db(SIGNAL, SIGNAL.mean(keepdims=True)) == -MOST_DB
