"""Several budgets at once, here and on Ray."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import mobiledistill as md
from mobiledistill import Budget, Event, InputError, Recipe, Schedule, SweepResult, sweep
from tests.networks import Residual, Stripes
from tests.report import _runs

BUDGETS = [Budget(size_bytes=size) for size in (6_500, 9_500, 400)]
SHORT = Schedule(
    rounds=2, cut_steps=1, cut=Recipe(epochs=1), distill=Recipe(epochs=2), quantize=Recipe(epochs=1), stretch=1.0
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    return md.train_model(Residual(24), Stripes(), Recipe(epochs=4, learning_rate=1e-2), workdir=folder)


@pytest.fixture(scope="module")
def alone(teacher: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResult, Path]:
    folder = tmp_path_factory.mktemp("alone")
    return sweep(teacher, Stripes(), BUDGETS, workdir=folder, formats=("onnx",), schedule=SHORT), folder


def _plans(found: SweepResult) -> list[str]:
    return [result.plan.to_json() for result in found.results]


@pytest.mark.long
def test_each_budget_gets_its_student(alone: tuple[SweepResult, Path]) -> None:
    found, folder = alone
    small, large, none = found.results
    assert small.met
    assert large.met
    assert not none.met
    assert [result.budget for result in found.results] == BUDGETS
    assert small.artifacts["onnx"].size_bytes < large.artifacts["onnx"].size_bytes <= 9_500
    assert none not in found.front
    lines = found.summary().splitlines()
    assert len(lines) == 3
    assert "cannot be kept" in lines[2]
    assert len(list((folder / "analysis").glob("*.json"))) == 1  # measured once for all
    assert len({path.name for path in folder.glob("answers/*")}) == 1


def test_the_front_holds_what_nothing_beats() -> None:
    def of(size: int, score: float) -> md.CompressionResult:
        files = {"onnx": _runs.artifact("onnx", size, None, test=score)}
        checks = [replace(_runs.one_format().limits[0], format="onnx", status="met")]
        return replace(_runs.one_format(), artifacts=files, limits=checks)

    small, large, worse, equal = of(10, 90.0), of(20, 95.0), of(20, 89.0), of(30, 95.0)
    front = SweepResult((small, large, worse, equal)).front
    assert [result.artifacts["onnx"].size_bytes for result in front] == [10, 20]
    assert front[1] is large


@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # JAX, where a test before loaded it
@pytest.mark.long
def test_two_workers_end_as_one_and_a_killed_one_is_replaced(
    teacher: nn.Module, alone: tuple[SweepResult, Path], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        """The first worker that has begun to train."""
        while not list(tmp_path.glob("budget-*/training/*.pt")):
            time.sleep(0.05)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if b"ray::_work" in command:
                killed.append(int(process.name))
                os.kill(killed[-1], signal.SIGKILL)
                return

    heard: list[Event] = []
    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found = sweep(
        teacher, Stripes(), BUDGETS, workers=2, workdir=tmp_path, formats=("onnx",), schedule=SHORT,
        progress=heard.append,
    )  # fmt: skip
    killer.join(1)
    assert killed
    assert _plans(found) == _plans(alone[0])
    assert [result.met for result in found.results] == [True, True, False]
    assert [event.done for event in heard if event.phase == "sweep"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("budgets", "workers", "match"),
    [([], 1, "no budget"), ([BUDGETS[0], BUDGETS[0]], 1, "there twice"), (BUDGETS, 0, "workers must be")],
)
def test_bad_input(teacher: nn.Module, tmp_path: Path, budgets: list[Budget], workers: int, match: str) -> None:
    with pytest.raises(InputError, match=match):
        sweep(teacher, Stripes(), budgets, workers=workers, workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_compress_does_not_have_is_refused(teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no option 'quantise'"):
        sweep(teacher, Stripes(), BUDGETS, workdir=tmp_path, quantise=None)  # type: ignore[call-arg]  # misspelt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_sensitivities_survive_on_disk(alone: tuple[SweepResult, Path]) -> None:
    (file,) = (alone[1] / "analysis").glob("*.json")
    known = json.loads(file.read_text())
    first = alone[0].results[0].sensitivity
    assert first is not None
    assert first.loss == known["loss"]
    assert {str(kept) for kept in next(iter(first.rises.values()))} == set(next(iter(known["rises"].values())))
