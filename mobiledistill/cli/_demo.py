"""``mobiledistill demo NAME``: train a teacher on real data, compress it, show what came out, try it."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated

import typer

from converters import InputError
from mobiledistill._demo import Demo, DemoRequest, run_demo
from mobiledistill._result import BudgetError
from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import print_json, print_result, progress_bars
from mobiledistill.cli._try_browser import PLACES, try_in_browser
from mobiledistill.cli._try_out import try_out

__all__ = ["add_to"]

_GROUP = "mobiledistill.demos"


def add_to(app: typer.Typer) -> None:
    """Adds ``demo`` with one command for each installed demo."""
    demos = typer.Typer(help="Run a demo from data to files.", no_args_is_help=True, rich_markup_mode=None)
    for entry in sorted(entry_points(group=_GROUP), key=lambda entry: entry.name):
        demo: Demo = entry.load()
        example = f"Example: mobiledistill demo {entry.name} --size 60kB --latency 0.3ms"
        demos.command(entry.name, help=demo.help, epilog=example)(_command(entry.name, demo))
    app.add_typer(demos, name="demo")


def _command(name: str, demo: Demo) -> Callable[..., None]:
    """The demo's command: the options that all share, and one for each kind of input that can be tried."""
    first = next(iter(demo.tasks))
    splits = list(dict.fromkeys(split for task in demo.tasks.values() for split in task.splits))

    def run(
        size: options.Size = None,
        latency: options.Latency = None,
        latency_share: options.LatencyShare = None,
        memory: options.Memory = None,
        download: options.Download = None,
        max_drop: options.Drop = None,
        formats: options.Formats = "tflite,coreml,onnx",
        quantize: options.Quantize = None,
        task: Annotated[str, typer.Option(help=f"One of: {', '.join(demo.tasks)}.")] = first,
        split: Annotated[str | None, typer.Option(help=f"One of: {', '.join(splits)}.")] = None,
        data: options.Data = None,
        workdir: options.Workdir = Path("runs") / name,
        device: options.Device = "host",
        upload: options.Upload = False,
        app: options.App = None,
        backend: options.Backend = None,
        seed: options.Seed = 0,
        quick: options.Quick = False,
        tensorboard: options.TensorBoard = None,
        where: Annotated[
            str | None, typer.Option("--try", help=f"Try the last run's files on a page: {' or '.join(PLACES)}.")
        ] = None,
        as_json: options.Json = False,
        **tried: str | None,
    ) -> None:
        _check_choice("--task", task, tuple(demo.tasks))
        chosen = demo.tasks[task]
        if quantize is not None:
            chosen = replace(chosen, quantize=options.scheme_of(quantize))
        _check_choice("--split", split or chosen.splits[0], chosen.splits)
        wanted = options.formats_of(formats)
        given_options = [option for option, given in tried.items() if given is not None]
        if where is not None:
            if given_options or as_json:
                other = "json" if as_json else given_options[0]
                raise InputError(f"--try and --{other} were both given; the page asks for its input itself: give one.")
            try_in_browser(task, chosen, where, workdir, wanted)
            return
        for option, given in tried.items():
            if given is not None:
                try_out(task, chosen, option, given, workdir, wanted, as_json)
                return
        limits = (size, latency, latency_share, memory, download, max_drop)
        budget = None if all(limit is None for limit in limits) else options.budget_of(*limits)
        request = DemoRequest(split or chosen.splits[0], data, seed, quick)
        with progress_bars(tensorboard) as progress:
            try:
                done = run_demo(
                    task,
                    chosen,
                    request,
                    budget,
                    formats=wanted,
                    device=options.device_of(device, upload, app, backend),
                    workdir=workdir,
                    progress=progress,
                )
            except BudgetError as error:
                if as_json:
                    print_json(error.nearest)
                raise
        if as_json:
            print_json(done.result)
        else:
            print_result(done.result, getattr(done.task, "source", None))

    return _with_options(run, demo)


def _with_options(run: Callable[..., None], demo: Demo) -> Callable[..., None]:
    """Spells out, for typer, the options that stand for ``**tried``."""
    plain = signature(run)
    tried = {
        task.try_out.option: Parameter(
            task.try_out.option,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, typer.Option(f"--{task.try_out.option}", help=task.try_out.help)],
        )
        for task in demo.tasks.values()
        if task.try_out is not None
    }
    fixed = [p for p in plain.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    parameters = [*fixed, *tried.values()]
    run.__dict__["__signature__"] = plain.replace(parameters=parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option} {value!r} is not understood; choose one of {', '.join(choices)}.")
