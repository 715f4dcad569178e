"""``mobiledistill compress JOB.py``: a user's own teacher and task, compressed to a budget."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from converters import InputError
from mobiledistill._compress import compress as run
from mobiledistill._result import BudgetError
from mobiledistill._schedule import Schedule
from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import print_json, print_result, progress_bars

__all__ = ["EXAMPLE", "compress"]

EXAMPLE = "Example: mobiledistill compress job.py --size 30kB --latency 0.5ms --workdir runs/mine"


def compress(
    job: Annotated[Path, typer.Argument(help="A Python file that defines teacher() and task().")],
    size: options.Size = None,
    latency: options.Latency = None,
    latency_share: options.LatencyShare = None,
    memory: options.Memory = None,
    download: options.Download = None,
    max_drop: options.Drop = None,
    formats: options.Formats = "tflite,coreml,onnx",
    quantize: options.Quantize = "int8",
    workdir: options.Workdir = Path("runs/latest"),
    device: options.Device = "host",
    upload: options.Upload = False,
    app: options.App = None,
    backend: options.Backend = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; without it what schedule() says.")] = None,
    tensorboard: options.TensorBoard = None,
    as_json: options.Json = False,
) -> None:
    """Find the most accurate student of your own teacher whose files keep the budget.

    JOB is a Python file of yours, and it is run: it defines teacher(), which returns a trained torch module, and
    task(), which returns what must be learned (mobiledistill.Task). It may define schedule() too.
    """
    budget = options.budget_of(size, latency, latency_share, memory, download, max_drop)
    wanted, scheme = options.formats_of(formats), options.scheme_of(quantize or "int8")
    measures = options.device_of(device, upload, app, backend)  # refused before the job trains a teacher
    module = _load(job)
    schedule = module.schedule() if hasattr(module, "schedule") else Schedule()
    schedule = schedule if seed is None else replace(schedule, seed=seed)
    task = module.task()
    try:
        with progress_bars(tensorboard) as progress:
            result = run(
                module.teacher(),
                task,
                budget,
                device=measures,
                formats=wanted,
                quantize=scheme,
                schedule=schedule,
                workdir=workdir,
                progress=progress,
            )
    except BudgetError as error:
        if as_json:
            print_json(error.nearest)
        raise
    if as_json:
        print_json(result)
    else:
        print_result(result, getattr(task, "source", None))


def _load(job: Path) -> ModuleType:
    if not job.is_file() or job.suffix != ".py":
        raise InputError(f"{job} is no Python file; give one that defines teacher() and task().")
    name = f"_job_{job.stem}"  # a job may be called as a module is that others import
    spec = importlib.util.spec_from_file_location(name, job)
    if spec is None or spec.loader is None:
        raise InputError(f"{job} cannot be imported; give a Python file that defines teacher() and task().")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(job.parent.resolve()))  # last: what lies beside it may be called as a module is, too
    spec.loader.exec_module(module)
    missing = [name for name in ("teacher", "task") if not callable(getattr(module, name, None))]
    if missing:
        raise InputError(f"{job} does not define {' and '.join(f'{name}()' for name in missing)}; add it.")
    return module
