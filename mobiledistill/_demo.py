"""What a demo brings to the command line: tasks, each with a teacher and how long to train both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from converters import FORMATS, Format, InputError
from mobiledistill._budget import Budget
from mobiledistill._compress import compress
from mobiledistill._progress import Progress
from mobiledistill._result import CompressionResult
from mobiledistill._schedule import Recipe, Schedule
from mobiledistill._student import Family
from mobiledistill._task import Predict, Task
from mobiledistill._teach import train_model
from mobiledistill.distill import Loss
from mobiledistill.quantize import Int8, Scheme

if TYPE_CHECKING:
    from mobiledistill.devices import Device

__all__ = ["Answer", "Demo", "DemoRequest", "DemoRun", "DemoTask", "TryOut", "run_demo"]

_QUICK_EPOCHS = 6


@dataclass(frozen=True)
class DemoRequest:
    """What the command line was asked for.

    Attributes:
        split: one of the task's splits.
        data: folder of the recordings, images or texts; None: where the demo finds them.
        seed: of everything random.
        quick: a slice of the data is enough: the whole path within minutes, not the accuracy.
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
        page: the folder of a built web page that does the same, for ``--try browser``; None: there is none.
    """

    option: str
    help: str
    answer: Callable[[Predict, Path, str], Answer]
    page: Path | None = None


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
        quick_budget: the budget of ``--quick`` where the command line names no limit; None: the same.
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
    quick_budget: Budget | None = None
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


@dataclass(frozen=True)
class DemoRun:
    """What a run of a demo leaves: the task, its trained teacher, and the student's files with all that was measured.

    Attributes:
        transfer: what students learned from: the task itself, or the teacher's answers in its place.
    """

    task: Task
    transfer: Task
    teacher: nn.Module
    result: CompressionResult


def run_demo(
    name: str,
    demo: DemoTask,
    request: DemoRequest,
    budget: Budget | None = None,
    *,
    formats: tuple[Format, ...] = FORMATS,
    device: str | Device = "host",
    workdir: Path,
    progress: Progress | None = None,
) -> DemoRun:
    """Trains a demo's teacher and compresses it; the same call again resumes.

    Args:
        name: of the task, for its folders.
        demo: the task's data, teacher and schedules.
        request: what was asked for.
        budget: None: the demo's own.
        formats: which files to write.
        device: where latency and memory are measured; this machine briefly, where the request is quick.
        workdir: the teacher and each run have a folder in it.
        progress: called as work gets done.

    Raises:
        InputError: the demo has no budget of its own and none was given.
        BudgetError: as ``compress``.
    """
    from mobiledistill.devices import Host

    budget = budget or (request.quick and demo.quick_budget) or demo.budget
    if budget is None:
        raise InputError("No limit was given; give at least one, for example --size 60kB or --latency 0.3ms.")
    task = demo.make_task(request)
    make, recipe = demo.make_teacher, demo.teacher_recipe
    if request.quick:
        make, recipe = demo.quick_teacher or make, demo.quick_teacher_recipe or _shorter(recipe)
    quick = ["quick"] if request.quick else []
    stored = [] if demo.quantize == Int8() else [type(demo.quantize).__name__.lower()]
    folder = workdir / "-".join(["teacher", name, request.split, *quick])
    teacher = train_model(make(task, request.seed), task, recipe, workdir=folder, seed=request.seed, progress=progress)
    transfer = task if demo.make_transfer is None else demo.make_transfer(task, teacher, folder)
    result = compress(
        teacher,
        transfer,
        budget,
        student=demo.student,
        distill=demo.distill,
        device=Host(brief=True) if request.quick and device == Host.name else device,
        formats=formats,
        quantize=demo.quantize,
        schedule=replace(_quick_schedule(demo) if request.quick else demo.schedule, seed=request.seed),
        workdir=workdir
        / "-".join([name, request.split, f"seed{request.seed}", *formats, _slug(budget), *stored, *quick]),
        progress=progress,
    )
    return DemoRun(task, transfer, teacher, result)


def _quick_schedule(demo: DemoTask) -> Schedule:
    return demo.quick_schedule or replace(
        demo.schedule,
        cut_steps=1,
        distill=_shorter(demo.schedule.distill),
        quantize=replace(demo.schedule.quantize, epochs=min(2, demo.schedule.quantize.epochs)),
    )


def _shorter(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=min(recipe.epochs, _QUICK_EPOCHS), warmup_epochs=1.0)


def _slug(budget: Budget) -> str:
    inside = repr(budget).removeprefix("Budget(").removesuffix(")")
    return "".join(c if c.isalnum() or c in "._" else "-" for c in inside.replace(", ", "-").replace("=", ""))
