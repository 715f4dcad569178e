"""The search, and latency tables, on a phone: the same code as on this computer, through the real adb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from converters import Program, convert
from mobiledistill import Budget, Recipe, Schedule, compress, train_model
from mobiledistill.devices import Android, LatencyTable, Measurement, Programs, _runs, calibrate
from mobiledistill.quantize import post_training
from tests.devices.phone import Phone
from tests.networks import Residual, Stripes


class QuickAndroid(Android):
    """A phone that is asked for few samples: emulated, they mean nothing."""

    def measure(self, path: Path, fmt: Any, inputs: Any = None, **options: Any) -> Measurement | None:
        return super().measure(path, fmt, inputs, **{**options, "processes": 1, "samples": 20, "limit_ms": None})

    def measure_interleaved(self, subjects: Any, **options: Any) -> list[Measurement]:
        return super().measure_interleaved(subjects, **{**options, "samples": 3})


@pytest.fixture(autouse=True)
def _emulation_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
    monkeypatch.setattr(_runs, "_PREEMPTED_PER_RUN", 1e9)


@pytest.mark.long
def test_a_latency_budget_is_met_on_the_phone(phone: Phone, programs: Programs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = Stripes()
    teacher = train_model(Residual(64), task, Recipe(epochs=1, learning_rate=1e-2), workdir=tmp_path / "teacher")
    android = QuickAndroid(phone.address, programs=programs)
    images = torch.from_numpy(task.calibration_inputs()["image"])
    (integers, *_) = post_training(Program(teacher, {"image": images[:1]}, ("logits",)), {"image": images})
    whole = android.measure(convert(integers, tmp_path / "uncut.tflite"), "tflite")
    assert whole is not None
    limit_ms = 0.6 * whole.latency_ms
    result = compress(
        teacher,
        task,
        Budget(latency_ms=limit_ms),
        formats=("tflite",),
        schedule=Schedule(
            cut_steps=1, distill=Recipe(epochs=2), quantize=Recipe(epochs=1), quick=Recipe(epochs=1), stretch=1.0
        ),
        device=android,
        workdir=tmp_path / "run",
    )
    assert result.met
    assert not result.plan.cuts_nothing
    measured = result.artifacts["tflite"].latency
    assert measured is not None
    assert measured.path_kind == "shell"
    assert measured.outputs is not None
    assert measured.outputs.same
    assert measured.ci95_ms[1] <= limit_ms
    android.close()
    assert not phone.path("/data/local/tmp/mobiledistill").exists()


@pytest.mark.long
def test_a_table_of_the_phone_predicts_without_it(
    phone: Phone, programs: Programs, tmp_path: Path, tflite: Path
) -> None:
    android = QuickAndroid(phone.address, programs=programs)
    table = calibrate(android, formats=("tflite",), precisions=("fp32",), networks=5, workdir=tmp_path / "calibration")
    assert table.device.name == "Mobiledistill Fixture"
    assert table.spec == f"adb:{phone.address}"
    table.save(tmp_path / "phone.json")
    phone.pull_out()
    prediction = LatencyTable.load(tmp_path / "phone.json").predict(tflite)
    assert prediction.latency_ms > 0
    assert prediction.error > 0
    phone.plug_in()
