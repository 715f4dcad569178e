"""What a demo brings to the command line: a task, a teacher, and how long to train both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mobiledistill._schedule import Recipe, Schedule
from mobiledistill._task import Task

__all__ = ["Demo", "DemoRequest"]


@dataclass(frozen=True)
class DemoRequest:
    """What the command line was asked for.

    Attributes:
        task: one of the demo's tasks.
        split: one of its splits.
        data: folder of the recordings, images or texts; None: where the demo finds them.
        seed: of everything random.
    """

    task: str
    split: str
    data: Path | None
    seed: int


@dataclass(frozen=True)
class Demo:
    """A demo; packages offer theirs in the entry-point group ``mobiledistill.demos``.

    Attributes:
        help: one line for ``mobiledistill demo --help``.
        tasks: what can be asked for with ``--task``, the default first.
        splits: what can be asked for with ``--split``, the default first.
        make_task: reads the data.
        make_teacher: the untrained teacher for a seed.
        teacher_recipe: how it is trained.
        schedule: how its students are.
    """

    help: str
    tasks: tuple[str, ...]
    splits: tuple[str, ...]
    make_task: Callable[[DemoRequest], Task]
    make_teacher: Callable[[int], nn.Module]
    teacher_recipe: Recipe
    schedule: Schedule
