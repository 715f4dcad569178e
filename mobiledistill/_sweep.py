"""sweep: several budgets at once, and which of their students are worth having."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from torch import nn

from converters import FORMATS, Format, InputError, MissingExtraError, MobileDistillError
from mobiledistill._budget import Budget
from mobiledistill._compress import run_job
from mobiledistill._job import Job
from mobiledistill._progress import Event, Progress
from mobiledistill._result import BudgetError, CompressionResult
from mobiledistill._schedule import Schedule
from mobiledistill._student import Family
from mobiledistill._task import Task
from mobiledistill.distill import Loss
from mobiledistill.quantize import Int8, Scheme
from mobiledistill.teachers import Cached, Teacher, Teachers, as_teacher

if TYPE_CHECKING:
    from mobiledistill.devices import Device

__all__ = ["SweepResult", "sweep"]

_ATTEMPTS = 3  # of a worker, before the budget is left to this process


class CompressOptions(TypedDict, total=False):
    """What ``compress`` takes beside teacher, task and budget."""

    student: nn.Module | Family | None
    distill: Loss | None
    device: str | Device
    formats: tuple[Format, ...]
    quantize: Scheme
    schedule: Schedule


@dataclass(frozen=True)
class SweepResult:
    """What became of each budget.

    Attributes:
        results: in the order of the budgets; where one cannot be kept, the nearest result, which is not ``met``.
    """

    results: tuple[CompressionResult, ...]

    @property
    def front(self) -> tuple[CompressionResult, ...]:
        """The results that are met and that no other one beats: none is at most as large and as slow and scores more.

        Of several files the largest counts, the slowest, and the worst score on the test split.
        """
        met = [result for result in self.results if result.met]
        return tuple(one for one in met if not any(_beats(other, one) for other in met))

    def summary(self) -> str:
        """A line a budget, for a terminal; those on the front are marked."""
        front = self.front
        width = max((len(str(result.budget)) for result in self.results), default=0)
        return "\n".join(
            f"{'*' if any(result is one for one in front) else ' '} {result.budget!s:{width}}  {_told(result)}"
            for result in self.results
        )


def sweep(
    teacher: Teachers,
    task: Task,
    budgets: Sequence[Budget],
    *,
    workers: int = 1,
    workdir: str | Path = "runs/sweep",
    progress: Progress | None = None,
    **options: Unpack[CompressOptions],
) -> SweepResult:
    """Compresses to each budget: what accuracy costs in bytes and milliseconds, and where it stops being worth it.

    Budgets share the teacher's answers and what was found out about it. Each keeps its own folder in ``workdir``, so a
    sweep that was killed goes on when called again, and further budgets may be added. With several workers they run on
    Ray, on this computer or on the cluster that ``ray`` is connected to, which has to see ``workdir``; a worker that
    dies is replaced, and its budget goes on where it stopped. Budgets on latency want one worker a device: what runs
    beside a measurement makes it invalid.

    Example:
        >>> found = sweep(teacher, task, [Budget(size_bytes=kb * 1000) for kb in (10, 20, 40)])  # doctest: +SKIP
        >>> print(found.summary())  # doctest: +SKIP
        >>> smallest = min(found.front, key=lambda result: result.artifacts["tflite"].size_bytes)  # doctest: +SKIP

    Args:
        teacher: as for ``compress``.
        task: as for ``compress``.
        budgets: any limits, one student each.
        workers: how many budgets at once; more than one needs the extra ``mobiledistill[ray]``.
        workdir: folder of all the runs.
        progress: called as work gets done; of workers it hears which budgets are done.
        options: whatever else ``compress`` takes.

    Raises:
        InputError: there are no budgets, one is there twice, an option is unknown, or ``workers`` is below 1.
        MissingExtraError: several workers, and Ray is not installed.
    """
    if not budgets:
        raise InputError("sweep was given no budget; give at least one, for example [Budget(size_bytes=30_000)].")
    if twice := [str(budget) for place, budget in enumerate(budgets) if budget in budgets[:place]]:
        raise InputError(f"The budget {twice[0]} is there twice; give each once.")
    if unknown := options.keys() - CompressOptions.__annotations__.keys():
        raise InputError(
            f"sweep knows no option {min(unknown)!r}; it takes {', '.join(CompressOptions.__annotations__)}."
        )
    if workers < 1:
        raise InputError(f"workers must be at least 1, but got {workers!r}.")
    folder = Path(workdir)
    taught_by = as_teacher(teacher)
    if workers > 1:
        _on_ray(taught_by, task, budgets, workers, folder, progress, options)
    # What workers have done is found in the folders; what they have not is done here.
    return SweepResult(tuple(_compressed(taught_by, task, budget, folder, progress, options) for budget in budgets))


def _compressed(
    teacher: Teacher, task: Task, budget: Budget, folder: Path, progress: Progress | None, options: CompressOptions
) -> CompressionResult:
    """One budget's result, or the nearest one."""
    shared = teacher if isinstance(teacher, Cached) else Cached(teacher, folder / "answers")
    name = hashlib.sha256(repr(budget).encode()).hexdigest()[:10]
    try:
        return run_job(
            Job.start(
                shared,
                task,
                budget,
                options.get("student"),
                options.get("distill"),
                options.get("device", "host"),
                options.get("formats", FORMATS),
                options.get("quantize", Int8()),
                options.get("schedule", Schedule()),
                folder / f"budget-{name}",
                progress,
                analysis=folder / "analysis",
            )
        )
    except BudgetError as error:
        return error.nearest


def _on_ray(
    teacher: Teacher,
    task: Task,
    budgets: Sequence[Budget],
    workers: int,
    folder: Path,
    progress: Progress | None,
    options: CompressOptions,
) -> None:
    """Lets workers fill the budgets' folders, a few at a time."""
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("ray", "ray") from None
    started = not ray.is_initialized()
    if started:
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={"worker_niceness": 0},  # else anything that runs beside starves them
        )
    try:
        work = ray.remote(max_retries=_ATTEMPTS, num_cpus=1)(_work)
        shared = ray.put((teacher, task, options))
        running = {work.remote(shared, budget, folder): budget for budget in budgets}
        while running:
            done, _ = ray.wait(list(running), num_returns=1)
            budget = running.pop(done[0])
            try:
                note = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, MobileDistillError):
                    raise error.cause from None
                raise
            except ray.exceptions.RayError:
                note = "the worker died; this process goes on with it"
            if progress is not None:
                progress(Event("sweep", len(budgets) - len(running), len(budgets), f"{budget}: {note}"))
    finally:
        if started:
            ray.shutdown()


def _work(shared: tuple[Teacher, Task, CompressOptions], budget: Budget, folder: Path) -> str:
    teacher, task, options = shared
    return _told(_compressed(teacher, task, budget, folder, None, options))


def _told(result: CompressionResult) -> str:
    latency = _latency_ms(result)
    parts = [
        result.metric.told(result.score.value),
        f"{_size(result):,} bytes",
        *([] if latency is None else [f"{latency:.3f} ms"]),
    ]
    return ", ".join(parts) + ("" if result.met else " (cannot be kept; this is the nearest)")


def _beats(one: CompressionResult, other: CompressionResult) -> bool:
    """Whether one is nowhere worse than the other and somewhere better."""
    pairs = [(_size(one), _size(other)), (_lost(one), _lost(other))]
    latencies = _latency_ms(one), _latency_ms(other)
    if latencies[0] is not None and latencies[1] is not None:
        pairs.append((latencies[0], latencies[1]))
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def _size(result: CompressionResult) -> int:
    return max(file.size_bytes for file in result.artifacts.values())


def _lost(result: CompressionResult) -> float:
    """The score, lower being better."""
    return -result.score.value if result.metric.higher_is_better else result.score.value


def _latency_ms(result: CompressionResult) -> float | None:
    known = [file.latency_ms for file in result.artifacts.values() if file.latency_ms is not None]
    return max(known, default=None)
