"""What a demo runs: its own teacher and budget, the short way when asked, and the transfer set its teacher makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobiledistill import Budget, DemoRequest, DemoTask, InputError, Recipe, Schedule, Task, run_demo
from tests.networks import Residual, Stripes

NOTHING = Recipe(epochs=0)
SCHEDULE = Schedule(cut_steps=1, cut=NOTHING, distill=NOTHING, quantize=NOTHING, quick=NOTHING, rounds=1)


class Transferred(Stripes):
    """The same task with what a teacher said; knows which one."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher


def demo(**more: object) -> DemoTask:
    return DemoTask(
        make_task=lambda request: Stripes(512 if request.quick else 64),
        make_teacher=lambda _, seed: _seeded(12, seed),
        teacher_recipe=Recipe(epochs=2, learning_rate=1e-2),
        schedule=SCHEDULE,
        budget=Budget(size_bytes=40_000),
        make_transfer=lambda _, teacher, __: Transferred(teacher),
        quick_teacher=lambda _, seed: _seeded(6, seed),
        quick_teacher_recipe=Recipe(epochs=4, learning_rate=1e-2),
        quick_budget=Budget(size_bytes=30_000),
        **more,  # type: ignore[arg-type]  # of DemoTask's own
    )


def _seeded(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Residual(width)


def test_the_short_way_has_a_teacher_a_budget_and_a_folder_of_its_own(tmp_path: Path) -> None:
    done = run_demo(
        "stripes", demo(), DemoRequest("official", None, 3, quick=True), formats=("onnx",), workdir=tmp_path
    )

    assert isinstance(done.transfer, Transferred)
    assert done.transfer.teacher is done.teacher
    assert isinstance(done.task, Stripes)
    assert not isinstance(done.task, Transferred)
    assert done.teacher.get_submodule("first").weight.shape[0] == 6  # type: ignore[union-attr]  # a tensor
    assert done.result.artifacts.keys() == {"onnx"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "teacher-stripes-official-quick",
        "stripes-official-seed3-onnx-size_bytes30000-quick",
    }


def test_a_demo_without_a_budget_asks_for_one(tmp_path: Path) -> None:
    def never(_: DemoRequest) -> Task:
        raise AssertionError("data are read only once there is a budget")

    task = DemoTask(never, lambda _, __: Residual(), Recipe(epochs=1), SCHEDULE)
    with pytest.raises(InputError, match="No limit was given"):
        run_demo("stripes", task, DemoRequest("official", None, 0), workdir=tmp_path)
