"""``mobiledistill demo NAME``: train a teacher on real data, compress it, show what came out."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from converters import InputError
from mobiledistill._budget import Budget
from mobiledistill._compress import compress
from mobiledistill._demo import Demo, DemoRequest
from mobiledistill._result import BudgetError
from mobiledistill._schedule import Recipe, Schedule
from mobiledistill._teach import train_model
from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import print_json, print_result, progress_bars

__all__ = ["add_to"]

_GROUP = "mobiledistill.demos"
_QUICK_EPOCHS = 6


def add_to(app: typer.Typer) -> None:
    """Adds ``demo`` with one command for each installed demo."""
    demos = typer.Typer(help="Run a demo from data to files.", no_args_is_help=True, rich_markup_mode=None)
    for entry in sorted(entry_points(group=_GROUP), key=lambda entry: entry.name):
        demo: Demo = entry.load()
        example = f"Example: mobiledistill demo {entry.name} --size 60kB --latency 0.3ms"
        demos.command(entry.name, help=demo.help, epilog=example)(_command(entry.name, demo))
    app.add_typer(demos, name="demo")


def _command(name: str, demo: Demo) -> Callable[..., None]:
    def run(
        size: options.Size = None,
        latency: options.Latency = None,
        memory: options.Memory = None,
        download: options.Download = None,
        max_drop: options.Drop = None,
        formats: options.Formats = "tflite,coreml,onnx",
        task: Annotated[str, typer.Option(help=f"One of: {', '.join(demo.tasks)}.")] = demo.tasks[0],
        split: Annotated[str, typer.Option(help=f"One of: {', '.join(demo.splits)}.")] = demo.splits[0],
        data: options.Data = None,
        workdir: options.Workdir = Path("runs") / name,
        device: options.Device = "host",
        seed: options.Seed = 0,
        quick: options.Quick = False,
        as_json: options.Json = False,
    ) -> None:
        _check_choice("--task", task, demo.tasks)
        _check_choice("--split", split, demo.splits)
        budget = options.budget_of(size, latency, memory, download, max_drop)
        wanted = options.formats_of(formats)
        learning = demo.make_task(DemoRequest(task, split, data, seed))
        recipe = _shorter(demo.teacher_recipe) if quick else demo.teacher_recipe
        schedule = replace(_shorter_schedule(demo.schedule) if quick else demo.schedule, seed=seed)
        name_of_run = "-".join([task, split, f"seed{seed}", *wanted, _slug(budget), *(["quick"] if quick else [])])
        with progress_bars() as progress:
            teacher = train_model(
                demo.make_teacher(seed),
                learning,
                recipe,
                workdir=workdir / f"teacher-{task}-{split}",
                seed=seed,
                progress=progress,
            )
            try:
                result = compress(
                    teacher,
                    learning,
                    budget,
                    device=device,
                    formats=wanted,
                    schedule=schedule,
                    workdir=workdir / name_of_run,
                    progress=progress,
                )
            except BudgetError as error:
                if as_json:
                    print_json(error.nearest)
                raise
        if as_json:
            print_json(result)
        else:
            print_result(result, getattr(learning, "source", None))

    return run


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option} {value!r} is not understood; choose one of {', '.join(choices)}.")


def _shorter(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=min(recipe.epochs, _QUICK_EPOCHS), warmup_epochs=1.0)


def _shorter_schedule(schedule: Schedule) -> Schedule:
    return replace(
        schedule,
        cut_steps=1,
        distill=_shorter(schedule.distill),
        quantize=replace(schedule.quantize, epochs=min(2, schedule.quantize.epochs)),
    )


def _slug(budget: Budget) -> str:
    inside = repr(budget).removeprefix("Budget(").removesuffix(")")
    return "".join(c if c.isalnum() or c in "._" else "-" for c in inside.replace(", ", "-").replace("=", ""))
