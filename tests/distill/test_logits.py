"""Logits: which of their properties a student must share."""

from __future__ import annotations

import pytest

from mobiledistill import Head
from mobiledistill.distill import SoftTargets, SquaredLogits, StandardizedTargets
from tests.distill._steps import noise, step_of

STUDENT, TEACHER = noise(6, 5, seed=1), noise(6, 5)


def test_a_level_of_all_logits_is_free_where_a_softmax_follows() -> None:
    lifted = step_of(TEACHER + noise(6, 1, seed=2), TEACHER)
    answers_of_their_own = step_of(TEACHER + 2.0, TEACHER, Head.BINARY)

    assert SquaredLogits()(lifted).item() == pytest.approx(0.0, abs=1e-6)
    assert SquaredLogits()(answers_of_their_own).item() == pytest.approx(4.0)


def test_squared_logits_are_what_soft_targets_become_at_a_high_temperature() -> None:
    hot = SoftTargets(temperature=500.0, hard=0.0, soft=1.0)(step_of(STUDENT, TEACHER)).item()

    assert SquaredLogits()(step_of(STUDENT, TEACHER)).item() / 2 == pytest.approx(hot, rel=0.02)


def test_a_student_need_not_reach_the_teacher_s_range() -> None:
    smaller = 0.1 * TEACHER + noise(6, 1, seed=2)

    assert StandardizedTargets()(step_of(smaller, TEACHER)).item() == pytest.approx(0.0, abs=1e-3)
    assert StandardizedTargets()(step_of(STUDENT, TEACHER)).item() > 0.1
