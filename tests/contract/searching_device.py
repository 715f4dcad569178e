"""What the search and latency tables do through a device, the same for every one: asked for few samples, so quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from converters import Format, Program, convert
from mobiledistill import Budget, Recipe, Schedule, compress, train_model
from mobiledistill.devices import Interleaving, LatencyTable, Measurement, calibrate
from mobiledistill.quantize import post_training
from tests.networks import Residual, Stripes

__all__ = ["Quick", "meets_a_latency_budget", "predicts_what_it_measured"]


class Quick:
    """A device that is asked for less than the search asks for."""

    def __init__(self, device: Interleaving) -> None:
        self._device = device
        self.name, self.formats, self.signatures = device.name, device.formats, device.signatures
        self.float_ends = getattr(device, "float_ends", False)

    def measure(self, path: Path, fmt: Format, inputs: Any = None, **options: Any) -> Measurement | None:
        few = {"processes": 1, "samples": 20, "limit_ms": None}
        return self._device.measure(path, fmt, inputs, **{**options, **few})

    def measure_interleaved(self, subjects: Any, **options: Any) -> list[Measurement]:
        return self._device.measure_interleaved(subjects, **{**options, "samples": 3})


def meets_a_latency_budget(device: Interleaving, folder: Path) -> Measurement:
    """Compresses to half of what the uncut network's integers take there; the measurement of the student's file.

    What else the machine does only ever slows: of three measurements the fastest is the network's own time.
    """
    torch.manual_seed(0)
    task, quick = Stripes(), Quick(device)
    teacher = train_model(Residual(64), task, Recipe(epochs=1, learning_rate=1e-2), workdir=folder / "teacher")
    images = torch.from_numpy(task.calibration_inputs()["image"])
    (integers, *_) = post_training(Program(teacher, {"image": images[:1]}, ("logits",)), {"image": images})
    uncut = convert(integers, folder / "uncut.tflite")
    limit_ms = 0.5 * min(found.latency_ms for _ in range(3) if (found := quick.measure(uncut, "tflite")))
    short = Recipe(epochs=1)
    result = compress(
        teacher,
        task,
        Budget(latency_ms=limit_ms),
        formats=("tflite",),
        schedule=Schedule(cut_steps=1, distill=Recipe(epochs=2), quantize=short, quick=short, stretch=1.0),
        device=quick,
        workdir=folder / "run",
    )
    assert result.met
    assert not result.plan.cuts_nothing
    measured = result.artifacts["tflite"].latency
    assert measured is not None
    assert measured.outputs is not None
    assert measured.outputs.same
    assert measured.ci95_ms[1] <= limit_ms
    return measured


def predicts_what_it_measured(device: Interleaving, folder: Path, held_out: Path) -> LatencyTable:
    """Calibrates on five networks; the table, which tells a held-out file's latency without the device."""
    table = calibrate(Quick(device), formats=("tflite",), precisions=("int8",), networks=5, workdir=folder / "grid")
    assert table.spec == device.name
    table.save(folder / "table.json")
    prediction = LatencyTable.load(folder / "table.json").predict(held_out)
    assert prediction.latency_ms > 0
    assert prediction.error > 0
    return table
