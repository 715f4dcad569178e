"""A user's benchmark tool on a phone: LiteRT's own one, really run; the others by what their releases print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from converters import DeviceError, Format, InputError
from mobiledistill.devices import Android, Subject, _android_visit, _runs
from mobiledistill.devices import open as open_device
from tests.devices.phone import Phone
from tests.devices.test_tool_output import LITERT, PERF_NEW, WITH_MEDIAN

# LiteRT ships its benchmark_model as a Python module too; it names the model otherwise and knows no least time.
MIRROR = f"""#!{sys.executable}
import runpy, sys
words = [word.replace("--graph=", "--model=").replace("--use_cpu=true", "--use_cpu") for word in sys.argv[1:]]
sys.argv = ["benchmark_model", *(word for word in words if not word.startswith(("--min_secs", "--warmup_min_secs")))]
sys.stderr = sys.stdout
runpy.run_module("ai_edge_litert.tools.benchmark_litert_model", run_name="__main__")
"""
HELPS = {
    "classic": "usage: benchmark_model <flags>\n--num_threads=-1 int32 optional\n--use_xnnpack=false bool optional",
    "litert": "Flags from benchmark_litert_model.cc:\n--dispatch_library_path (Path to the dispatch library.)",
    "perf_test": "perf_test [options...] model_path [result_file]\nOptions: -m [test_mode] 'times' or 'duration'",
}
SAYS = {"classic": WITH_MEDIAN, "litert": LITERT, "perf_test": PERF_NEW}


@pytest.fixture(autouse=True)
def _emulation_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
    monkeypatch.setattr(_android_visit, "_POLL_S", 0.05)


@pytest.fixture
def reference(tflite: Path, onnx: Path) -> dict[str, Path]:
    return {"tflite": tflite, "onnx": onnx}


def _tool(folder: Path, text: str) -> Path:
    path = folder / "benchmark_model"
    path.write_text(text)
    path.chmod(0o755)
    return path


def _printing(folder: Path, kind: str, *, code: int = 0) -> Path:
    """A stand-in that prints what a release prints, and keeps what it was asked."""
    (folder / "help.txt").write_text(HELPS[kind])
    (folder / "says.txt").write_text(SAYS[kind])
    return _tool(
        folder,
        f'#!/bin/sh\nif [ "$1" = --help ]; then cat "{folder}/help.txt"; exit 1; fi\n'
        f'echo "$@" >> "{folder}/asked.txt"; cat "{folder}/says.txt"; exit {code}\n',
    )


def test_litert_s_own_tool_measures(phone: Phone, tflite: Path, tmp_path: Path) -> None:
    android = Android(phone.address, tool=_tool(tmp_path, MIRROR))
    one, same = android.measure_interleaved([Subject(tflite, "tflite")] * 2, processes=2, samples=20)
    assert [len(process) for process in one.samples_ms] == [1, 1]  # a mean of each process
    assert 0 < one.latency_ms < 50
    assert one.backend.obtained == "the whole graph"
    assert "LiteRT's benchmark_model (sha256" in one.runtime.version
    assert one.verdict == "valid"
    assert one.outputs is None
    assert one.load_cold_ms is not None
    assert one.load_warm_ms is None
    assert same.file == one.file
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"


@pytest.mark.parametrize(
    ("kind", "fmt", "asked", "median_ms"),
    [
        ("classic", "tflite", "--num_threads=2 --num_runs=30 --warmup_runs=10 --min_secs=0", 145.528),
        ("litert", "tflite", "--warmup_min_secs=0 --use_cpu=true", 85.23),
        ("perf_test", "onnx", "-I -e cpu -m times -r 30 -x 2", 62.2935),
    ],
)
def test_each_tool_is_told_apart_by_its_help_and_asked_in_its_words(
    phone: Phone, reference: dict[str, Path], tmp_path: Path, kind: str, fmt: Format, asked: str, median_ms: float
) -> None:
    android = Android(phone.address, tool=_printing(tmp_path, kind))
    found = android.measure(reference[fmt], fmt, threads=2, processes=2, samples=30)
    assert found is not None
    assert found.samples_ms == ((median_ms,), (median_ms,))
    calls = (tmp_path / "asked.txt").read_text().splitlines()
    assert len(calls) == 4  # the file and the reference, in two processes
    assert all(asked in call for call in calls)


def test_a_file_of_another_format_is_refused(phone: Phone, reference: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no tflite file, which is what TFLite's benchmark_model runs"):
        Android(phone.address, tool=_printing(tmp_path, "classic")).measure(reference["onnx"], "onnx")


def test_what_is_no_tool_is_refused(phone: Phone, tflite: Path, tmp_path: Path) -> None:
    tool = _tool(tmp_path, "#!/bin/sh\necho 'a tool for something else'\n")
    with pytest.raises(DeviceError, match="its help begins with 'a tool for something else'"):
        Android(phone.address, tool=tool).measure(tflite, "tflite")


def test_a_tool_that_dies_says_how(phone: Phone, tflite: Path, tmp_path: Path) -> None:
    tool = _printing(tmp_path, "classic", code=132)
    (tmp_path / "says.txt").write_text("STARTING!\n")
    with pytest.raises(DeviceError, match=r"its last words: STARTING!.*SIGILL") as raised:
        Android(phone.address, tool=tool).measure(tflite, "tflite")
    assert "\n" not in str(raised.value)


def test_a_tool_is_for_phones_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="A tool was given for 'host', but only adb:SERIAL"):
        open_device("host", tool=tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_device("adb:1", tool=tmp_path / "none")
