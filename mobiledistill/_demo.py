"""What a demo brings to the command line: tasks, each with a teacher and how long to train both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from mobiledistill._budget import Budget
from mobiledistill._schedule import Recipe, Schedule
from mobiledistill._student import Family
from mobiledistill._task import Predict, Task
from mobiledistill.distill import Loss
from mobiledistill.quantize import Int8, Scheme

__all__ = ["Answer", "Demo", "DemoRequest", "DemoTask", "TryOut"]


@dataclass(frozen=True)
class DemoRequest:
    """What the command line was asked for.

    Attributes:
        split: one of the task's splits.
        data: folder of the recordings, images or texts; None: where the demo finds them.
        seed: of everything random.
        quick: a slice of the data is enough: the whole path within 90 seconds, not the accuracy.
    """

    split: str
    data: Path | None
    seed: int
    quick: bool = False


@dataclass(frozen=True)
class Answer:
    """What a person sees of one answer.

    Attributes:
        text: one line or a few.
        picture: a PNG, where a picture says more.
        seconds_of_input: how long the input lasts, where it has a duration: for the real-time factor.
    """

    text: str
    picture: bytes | None = None
    seconds_of_input: float | None = None


@dataclass(frozen=True)
class TryOut:
    """How a person tries an exported file on an input of their own.

    Attributes:
        option: name of the command line's option, ``"wav"`` for ``--wav F.wav``.
        help: what to give.
        answer: (the file's predict, the folder of the task's assets, what was given) -> what to show.
    """

    option: str
    help: str
    answer: Callable[[Predict, Path, str], Answer]


@dataclass(frozen=True)
class DemoTask:
    """One task of a demo.

    Attributes:
        make_task: reads the data.
        make_teacher: the untrained teacher for a task and a seed.
        teacher_recipe: how it is trained.
        schedule: how its students are.
        splits: what can be asked for with ``--split``, the default first.
        budget: where the command line names no limit; None: it must.
        student: where students come from: None cuts them out of the teacher; or a family.
        distill: the loss; None: soft targets.
        quantize: how a student's numbers are stored.
        make_transfer: the task that students learn from, once there is a teacher (its answers as targets); None: the
            task itself.
        quick_teacher: the smaller teacher of ``--quick``; None: the same.
        quick_teacher_recipe: how ``--quick`` trains the teacher; None: a few epochs of ``teacher_recipe``.
        quick_schedule: likewise of the students.
        try_out: how to try a file; None: it cannot be tried.
    """

    make_task: Callable[[DemoRequest], Task]
    make_teacher: Callable[[Task, int], nn.Module]
    teacher_recipe: Recipe
    schedule: Schedule
    splits: tuple[str, ...] = ("official",)
    budget: Budget | None = None
    student: Family | None = None
    distill: Loss | None = None
    quantize: Scheme = field(default_factory=Int8)
    make_transfer: Callable[[Task, nn.Module, Path], Task] | None = None
    quick_teacher: Callable[[Task, int], nn.Module] | None = None
    quick_teacher_recipe: Recipe | None = None
    quick_schedule: Schedule | None = None
    try_out: TryOut | None = None


@dataclass(frozen=True)
class Demo:
    """A demo; packages offer theirs in the entry-point group ``mobiledistill.demos``.

    Attributes:
        help: one line for ``mobiledistill demo --help``.
        tasks: by the name that ``--task`` takes, the default first.
    """

    help: str
    tasks: Mapping[str, DemoTask]
