"""What phones said (docs/checklist.md tells how it is kept), one folder for each: all of it is still understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mobiledistill.devices import Measurement
from mobiledistill.devices._android_state import battery, cores, fastest, is_awake, properties, thermal
from mobiledistill.devices._tool_output import (
    ToolTimes,
    benchmark_model,
    litert_benchmark_model,
    onnxruntime_perf_test,
)

PHONES = sorted((Path(__file__).parent / "recorded").iterdir())
TOOLS: dict[str, Callable[[str], ToolTimes]] = {
    "benchmark_model.txt": benchmark_model,
    "litert_benchmark_model.txt": litert_benchmark_model,
    "onnxruntime_perf_test.txt": onnxruntime_perf_test,
}


@pytest.fixture(params=PHONES, ids=lambda folder: folder.name)
def recorded(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def _said(folder: Path, name: str) -> str:
    path = folder / name
    if not path.exists():
        return ""
    return path.read_text()


def test_something_is_recorded_in_every_folder(recorded: Path) -> None:
    assert any(recorded.iterdir())


def test_what_an_android_phone_says_of_itself_is_understood(recorded: Path) -> None:
    if said := _said(recorded, "getprop.txt"):
        assert properties(said)["ro.product.model"]
        assert properties(said)["ro.product.cpu.abilist"]
    if said := _said(recorded, "cores.txt"):
        assert fastest(cores(said), 1)
    if said := _said(recorded, "thermalservice.txt"):
        assert thermal(said).status is not None
        assert thermal(said).hottest_c is not None
    if said := _said(recorded, "battery.txt"):
        assert battery(said).level_percent is not None
        assert battery(said).temperature_c is not None
    if said := _said(recorded, "power.txt"):
        assert is_awake(said) is not None


def test_what_was_measured_there_is_read(recorded: Path) -> None:
    for file in (*recorded.glob("measurement.json"), *recorded.glob("app-*.json")):
        for found in json.loads(file.read_text()).values():
            measured = Measurement.from_json(json.dumps(found))
            assert measured.path_kind == ("app" if file.name.startswith("app-") else "shell")
            assert measured.outputs is not None


def test_what_tools_printed_there_is_read(recorded: Path) -> None:
    for name, read in TOOLS.items():
        if said := _said(recorded, name):
            assert read(said).runs >= 1
