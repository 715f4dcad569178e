"""Times a grid of operators on a device, and makes the table that predicts what other files take there."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from converters import (
    ConversionError,
    DeviceError,
    Format,
    InputError,
    Kernel,
    ModelFileError,
    Program,
    convert,
    kernels,
    sections,
    suffix_of,
)
from mobiledistill._progress import Event, Progress
from mobiledistill._workdir import Workdir, code_fingerprint
from mobiledistill.devices._base import Device, Interleaving, Subject
from mobiledistill.devices._fit import Hyper, Problem, Timed
from mobiledistill.devices._grid import network
from mobiledistill.devices._measurement import DeviceInfo, Measurement, RuntimeInfo
from mobiledistill.devices._open import open as open_device
from mobiledistill.devices._table import FormatTable, LatencyTable, TableDevice, table_of

__all__ = ["Precision", "calibrate"]

Precision = Literal["fp32", "int8"]

_NETWORKS = 72
_SAMPLES = 60
_TOGETHER = 6
_LENGTHS = (1, 1, 1, 2, 3, 4)
_CALIBRATED_ON = 8
_FOLDS = 5
_WHOLE = 0.5  # of a part's weight: what is wrong with a whole network no kernel alone is to blame for
_BELIEFS = (
    Hyper(spread=0.3, offset=0.3, reach=2.5),
    Hyper(spread=0.5, offset=0.3, reach=2.5),
    Hyper(spread=0.8, offset=0.3, reach=4.0),
)


def calibrate(
    device: str | Device = "host",
    *,
    formats: Sequence[Format] = ("tflite", "onnx"),
    precisions: Sequence[Precision] = ("fp32", "int8"),
    networks: int = _NETWORKS,
    seed: int = 0,
    workdir: str | Path = "runs/calibration",
    progress: Progress | None = None,
) -> LatencyTable:
    """Measures networks and their parts on a device, and fits a table that predicts the latency of other files.

    You gain latencies within milliseconds and without the device, for a search that asks often. You lose certainty:
    what comes out are predictions, and the table says how far off they were on networks that it had not seen.

    Example:
        >>> table = calibrate("host")  # doctest: +SKIP
        >>> table.save("host.json")  # doctest: +SKIP
        >>> compress(teacher, task, budget, device="table:host.json")  # doctest: +SKIP

    Args:
        device: a device, or what ``devices.open`` takes.
        formats: of the files; those that the device runs.
        precisions: of the networks.
        networks: how many are drawn; each is written in every format and precision, and timed whole and in parts.
        seed: of everything random.
        workdir: what was measured is kept here; the same call again goes on.
        progress: called as work gets done.

    Raises:
        InputError: the device does not run a format, or the work folder holds another calibration.
    """
    opened = open_device(device) if isinstance(device, str) else device
    if missing := [fmt for fmt in formats if fmt not in opened.formats]:
        raise InputError(f"{opened.name} does not run {', '.join(missing)}; it runs {', '.join(opened.formats)}.")
    if isinstance(opened, TableDevice):
        raise InputError(f"{opened.name} only predicts; calibrate a device that measures.")
    if not formats:
        raise InputError(f"No format was given; {opened.name} runs {', '.join(opened.formats)}.")
    if not precisions or not set(precisions) <= set(get_args(Precision)):
        raise InputError(f"precisions must be some of {', '.join(get_args(Precision))}, but got {precisions!r}.")
    if networks < _FOLDS:
        raise InputError(f"networks must be {_FOLDS} or more, so that some can be held out, but got {networks!r}.")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be 0 or more and fit 63 bits, but got {seed!r}.")
    code = code_fingerprint(network, kernels, sections)  # what is drawn, and what a kernel is called
    call = {"device": opened.name, "seed": seed, "threads": 1, "code": code}
    run = Workdir(Path(workdir), call)
    units = [(number, precision, fmt) for number in range(networks) for precision in precisions for fmt in formats]
    taken: dict[Format, list[dict[str, Any]]] = {fmt: [] for fmt in formats}
    program = lru_cache(maxsize=1)(_program)  # quantized once, and only where something is left to be timed
    for done, (number, precision, fmt) in enumerate(units):
        if progress is not None:
            progress(Event("calibrate", done, len(units), f"network {number + 1} in {precision}, {fmt}"))
        make = partial(program, number, seed, precision)
        found = run.recall(f"{number}-{precision}", fmt, partial(_time, opened, make, fmt, run))
        taken[fmt].append({"network": number, **found})
    if progress is not None:
        progress(Event("calibrate", len(units), len(units), "fitting"))
    tables = {fmt: _table(fmt, found) for fmt, found in taken.items()}
    devices = [unit["device"] for found in taken.values() for unit in found if "device" in unit]
    if any(device != devices[0] for device in devices):
        raise InputError("The work folder holds times of several devices; delete it to start over.")
    return LatencyTable(device=DeviceInfo(**devices[0]), spec=opened.name, seed=seed, networks=networks, formats=tables)


def _program(number: int, seed: int, precision: str) -> Program:
    from mobiledistill.quantize import post_training

    program = network(number, seed)
    if precision == "fp32":
        return program
    generator = torch.Generator().manual_seed(number)
    inputs = {
        name: torch.randn(_CALIBRATED_ON, *value.shape[1:], generator=generator)
        for name, value in program.inputs.items()
    }
    return post_training(program, inputs)[0]


def _time(device: Device, make: Callable[[], Program], fmt: Format, run: Workdir) -> dict[str, Any]:
    """One network as a file: measured whole, in parts, and whole again."""
    folder, program = run.files("grid"), make()
    try:
        whole = convert(program, folder / f"whole{suffix_of(fmt)}")
        draw = random.Random(str(sorted((name, tuple(v.shape)) for name, v in program.inputs.items())))
        lengths = [draw.choice(_LENGTHS) for _ in range(40)]
        parts = sections(whole, folder / "parts", lengths, float_ends=getattr(device, "float_ends", False))
        files = [whole, *parts, whole]
        calls = [kernels(path)["main"] for path in files]
        measured = _measure(device, files, fmt)
    except (ConversionError, ModelFileError) as error:  # of this network; a device may answer when it is asked again
        return {"refused": str(error)}
    finally:
        run.discard("grid")
    return {
        "device": measured[0].device.model_dump(),
        "runtime": measured[0].runtime.model_dump(),
        "files": [
            {
                "whole": path == whole,
                "ms": one.p50_ms,
                "p90_ms": one.p90_ms,
                "valid": one.verdict == "valid",
                "kernels": [asdict(kernel) for kernel in call],
            }
            for path, call, one in zip(files, calls, measured, strict=True)
        ],
    }


def _measure(device: Device, files: Sequence[Path], fmt: Format) -> list[Measurement]:
    if isinstance(device, Interleaving):  # a process for several files, each in turns with the reference
        subjects = [Subject(path, fmt) for path in files]
        groups = [subjects[start : start + _TOGETHER] for start in range(0, len(subjects), _TOGETHER)]
        return [
            one
            for group in groups
            for one in device.measure_interleaved(group, processes=1, samples=_SAMPLES, memory=False)
        ]
    found = [device.measure(path, fmt, processes=1, samples=_SAMPLES) for path in files]
    answers = [one for one in found if one is not None]
    if len(answers) < len(files):
        raise DeviceError(f"{device.name} did not run {len(files) - len(answers)} of {len(files)} {fmt} files.")
    return answers


def _table(fmt: Format, taken: Sequence[Mapping[str, Any]]) -> FormatTable:
    runtimes = [unit["runtime"] for unit in taken if "runtime" in unit]
    if not runtimes:
        raise InputError(f"No network could be measured as {fmt}: {taken[0].get('refused', 'nothing came back')}")
    if any(runtime != runtimes[0] for runtime in runtimes):
        raise InputError("The work folder holds times of several versions of a runtime; delete it to start over.")
    files, networks, wholes, twice, tails = [], [], [], [], []
    for unit in taken:
        entries = [entry for entry in unit.get("files", ()) if entry["valid"]]
        complete = [entry for entry in entries if entry["whole"]]
        if len(complete) > 1:
            twice.append(abs(complete[-1]["ms"] / complete[0]["ms"] - 1))
        tails += [entry["p90_ms"] / entry["ms"] for entry in complete]
        for entry in entries:
            called = tuple(Kernel(**kernel) for kernel in entry["kernels"])
            files.append(Timed(called, entry["ms"], _WHOLE if entry["whole"] else 1.0))
            networks.append(unit["network"])
            wholes.append(entry["whole"])
    if len({number for number, whole in zip(networks, wholes, strict=True) if whole}) < _FOLDS:
        raise InputError(f"Fewer than {_FOLDS} networks could be timed undisturbed as {fmt}: draw more of them.")
    beliefs = list(_BELIEFS)
    ratios = _held_out(files, np.array(networks), np.array(wholes), beliefs)
    best = min(range(len(beliefs)), key=lambda one: float(np.mean(np.abs(np.log(ratios[one])))))
    return table_of(
        Problem(files).fit(beliefs[best]),
        runtime=RuntimeInfo(**runtimes[0]),
        files=len(files),
        repeatability=float(np.quantile(twice, 0.95)) if twice else 0.0,
        tail=float(np.median(tails)),
        holdout=tuple(float(ratio) for ratio in ratios[best]),
    )


def _held_out(
    files: Sequence[Timed], networks: np.ndarray, wholes: np.ndarray, beliefs: Sequence[Hyper]
) -> list[list[float]]:
    """Of every network's file the measured over the predicted time, by a fit to the others; a list for each belief.

    A file that was timed twice counts once, with the mean of both.
    """
    ratios: list[list[float]] = [[] for _ in beliefs]
    for fold in range(_FOLDS):
        held = networks % _FOLDS == fold
        problem = Problem([file for file, out in zip(files, held, strict=True) if not out])
        asked: dict[tuple[Kernel, ...], list[float]] = {}
        for file, out, whole in zip(files, held, wholes, strict=True):
            if out and whole:
                asked.setdefault(file.kernels, []).append(file.ms)
        for number, belief in enumerate(beliefs):
            fitted = problem.fit(belief)
            ratios[number] += [
                sum(times) / len(times) / max(sum(fitted.ms(called)), 1e-9) for called, times in asked.items()
            ]
    return ratios
