"""Advice on pairs: from short trainings that are really run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobiledistill import Advice, Budget, InputError, Recipe, advise, train_model
from tests.networks import Residual, Stripes

TASK = Stripes()
PROBE = Recipe(epochs=3, learning_rate=1e-2)


def _net(width: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Residual(width)


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory) -> Advice:
    folder = tmp_path_factory.mktemp("advice")
    good = train_model(_net(24), TASK, Recipe(epochs=10, learning_rate=1e-2), workdir=folder)
    students = {"small": _net(4, 1), "large": _net(40, 2)}
    return advise(
        TASK,
        {"good": good, "untrained": _net(24, 3)},
        students,
        budget=Budget(size_bytes={"onnx": 12_000}),
        probe=PROBE,
        workdir=folder / "probes",
    )


def test_every_pair_is_judged_and_what_does_not_fit_comes_last(advice: Advice) -> None:
    assert {(pair.teacher, pair.student) for pair in advice.pairs} == {
        (teacher, student) for teacher in (None, "good", "untrained") for student in ("small", "large")
    }
    assert [pair.fits for pair in advice.pairs] == [True] * 3 + [False] * 3
    assert {pair.student for pair in advice.pairs if not pair.fits} == {"large"}
    assert advice.best.student == "small"


def test_a_teacher_that_knows_nothing_is_called_that(advice: Advice) -> None:
    (pair,) = (pair for pair in advice.pairs if (pair.teacher, pair.student) == ("untrained", "small"))
    assert "worse than the student alone" in pair.why
    assert pair.teacher_score is not None
    (taught,) = (pair for pair in advice.pairs if (pair.teacher, pair.student) == ("good", "small"))
    assert taught.capacity_gap == pytest.approx(
        sum(p.numel() for p in _net(24).parameters()) / sum(p.numel() for p in _net(4).parameters())
    )


def test_it_reads_as_a_few_lines(advice: Advice) -> None:
    lines = str(advice).splitlines()
    assert len(lines) == 6
    assert all("->" in line and line.endswith(".") for line in lines)


def test_a_wide_gap_asks_for_an_assistant() -> None:
    from mobiledistill import PairAdvice, Score
    from mobiledistill._advise import _judged
    from mobiledistill.teachers import as_teacher

    def pair(teacher: str | None, gain: float, gap: float | None) -> PairAdvice:
        score = Score(50 + gain, 100, (40.0, 60.0))
        return PairAdvice(
            teacher, "small", score, None if teacher is None else Score(99, 100, (98, 100)), gain, gap, True, ""
        )

    nets = {"small": _net(2), "middle": _net(16)}
    teachers = {"huge": as_teacher(_net(120))}
    pairs = [pair(None, 0.0, None), pair("huge", -1.0, 900.0)]
    assert "teach middle first" in _judged(pairs[1], pairs, teachers, nets, 1.0).why
    assert "put an assistant of about" in _judged(pairs[1], pairs, teachers, {"small": nets["small"]}, 1.0).why


def test_nothing_to_advise_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a teacher and a student"):
        advise(TASK, {}, {"small": _net(4)}, workdir=tmp_path)
    with pytest.raises(InputError, match="same classes"):
        advise(TASK, {"other": Residual(4, classes=9)}, {"small": _net(4)}, workdir=tmp_path)
    with pytest.raises(InputError, match="student 'small'"):
        advise(TASK, {"good": _net(4)}, {"small": Residual(4, classes=9)}, workdir=tmp_path)
