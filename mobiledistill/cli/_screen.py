"""What a person sees: progress while it runs, a table when it is done. All of it on standard error but the table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mobiledistill._progress import Event
from mobiledistill._progress import Progress as ProgressCallback
from mobiledistill._result import Artifact, CompressionResult, LimitCheck
from mobiledistill._tensorboard import TensorBoard

__all__ = ["print_json", "print_result", "progress_bars"]

_KILO = 1000


@contextmanager
def progress_bars(curves: Path | None = None) -> Iterator[ProgressCallback]:
    """Bars on a terminal; a line for each piece of work elsewhere (a log, CI); into ``curves`` for TensorBoard too."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _with_curves(curves, _print_line)
        return
    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def show(event: Event) -> None:
            if event.phase not in tasks:
                tasks[event.phase] = bars.add_task(event.phase, total=event.total, note=event.note)
            bars.update(tasks[event.phase], completed=event.done, total=event.total, note=event.note)  # type: ignore[arg-type]  # TaskID is an int

        yield _with_curves(curves, show)


def _with_curves(curves: Path | None, show: ProgressCallback) -> ProgressCallback:
    return show if curves is None else TensorBoard(curves, show)


def _print_line(event: Event) -> None:
    print(f"{event.phase:10} {event.done}/{event.total}  {event.note}", file=sys.stderr, flush=True)


def print_json(result: CompressionResult) -> None:
    """The result as one JSON object on standard output."""
    print(json.dumps(result.to_dict()))


def print_result(result: CompressionResult, source: str | None = None) -> None:
    """The result as tables that fit 80 columns."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    unit, decimals = result.metric.unit, result.metric.decimals
    table = Table(title=_headline(result), title_justify="left", title_style="bold")
    for heading in ("", "bytes", "ms p50", f"{result.metric.name} {unit}".strip(), "memory", "parity"):
        table.add_column(heading, justify="left" if not heading else "right")
    teacher = result.teacher
    table.add_row(
        "teacher",
        "-" if teacher.size_bytes is None else f"{teacher.size_bytes:,}",
        "-" if teacher.use is None else f"{teacher.use.latency_ms:.3f}",
        f"{teacher.score.value:.{decimals}f}",
        "-",
        "-",
    )
    for artifact in result.artifacts.values():
        table.add_row(*_artifact_row(artifact, decimals))
    console.print(table)
    limits = Table(show_edge=False)
    for heading in ("limit", "format", "allowed", "measured", "used", "status"):
        limits.add_column(heading, justify="left" if heading in ("limit", "format", "status") else "right")
    for check in result.limits:
        limits.add_row(*_limit_row(check))
    console.print(limits)
    scores = next(iter(result.artifacts.values())).score
    console.print(f"Every file was scored through its own runtime on {scores.n} test samples", end="")
    console.print(" (Core ML: the reference executor)." if "coreml" in result.artifacts else ".")
    if source:
        console.print(f"Data: {source}.", highlight=False)
    console.print(f"Files: {next(iter(result.artifacts.values())).path.parent}", soft_wrap=True, highlight=False)
    console.print(f"Report: {result.report_path}", soft_wrap=True, highlight=False)


def _headline(result: CompressionResult) -> str:
    reached = "Budget met" if result.met else "Budget not met"
    return f"{reached}: {result.ending.value}."


def _artifact_row(artifact: Artifact, decimals: int) -> tuple[str, ...]:
    memory = artifact.peak_memory_bytes
    parity = f"{artifact.parity.sqnr_db:.0f} dB"
    if artifact.parity.integers_equal:
        parity += ", same integers"
    return (
        artifact.format,
        f"{artifact.size_bytes:,}",
        "unmeasured" if artifact.latency_ms is None else f"{artifact.latency_ms:.3f}",
        f"{artifact.score.value:.{decimals}f}",
        "-" if memory is None else f"{memory / _KILO:,.0f} kB",
        parity,
    )


def _limit_row(check: LimitCheck) -> tuple[str, ...]:
    decimals = 0 if check.name.endswith("_bytes") else 3
    measured = "-" if check.measured is None else f"{check.measured:,.{decimals}f}"
    used = "-" if check.measured is None else f"{100 * check.used:.0f} %"
    return (check.name, check.format or "student", f"{check.limit:,.{decimals}f}", measured, used, check.status)
