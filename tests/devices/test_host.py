from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from converters import DeviceError, InputError, ModelFileError, load
from mobiledistill import devices
from mobiledistill.devices import Host, Measurement, Subject, _host, _host_child, _runs

NHWC = {"x": np.zeros((1, 64, 64, 4), np.float32)}
NCHW = {"x": np.zeros((1, 4, 64, 64), np.float32)}


@pytest.mark.parametrize(("fmt", "inputs"), [("tflite", NHWC), ("onnx", NCHW)])
def test_a_measurement_says_what_ran_and_how_long(fmt: str, inputs: dict[str, np.ndarray], assets: Path) -> None:
    path = assets / f"reference.{fmt}"
    measured = Host().measure(path, fmt, inputs, processes=2, samples=25)
    assert isinstance(measured, Measurement)
    assert [len(process) for process in measured.samples_ms] == [25, 25]
    assert min(min(process) for process in measured.samples_ms) > 0
    assert measured.ci95_ms[0] <= measured.p50_ms <= measured.p90_ms
    assert measured.latency_ms == measured.p50_ms == np.percentile(measured.samples_ms, 50)
    assert measured.sha256 == sha256(path.read_bytes()).hexdigest()
    assert (measured.format, measured.signature, measured.batch, measured.path_kind) == (fmt, "main", 1, "host")
    assert measured.backend.obtained == {"tflite": "xnnpack, 1 partition", "onnx": "CPUExecutionProvider"}[fmt]
    assert measured.reference is not None
    assert measured.reference.sha256 == measured.sha256  # the file measured is the reference itself
    assert [len(process) for process in measured.reference.samples_ms] == [25, 25]
    assert 0 < (measured.peak_memory_bytes or 0) < 200e6
    assert (measured.load_cold_ms or 0) > 0
    assert Measurement.from_json(measured.to_json()) == measured


@pytest.mark.parametrize(("fmt", "inputs"), [("tflite", NHWC), ("onnx", NCHW)])
def test_memory_is_the_models_whether_inputs_are_given_or_drawn(
    fmt: str, inputs: dict[str, np.ndarray], assets: Path
) -> None:
    path = assets / f"reference.{fmt}"
    given, drawn = (Host().measure(path, fmt, one, processes=1, samples=25) for one in (inputs, None))
    assert given is not None
    assert drawn is not None
    assert abs((given.peak_memory_bytes or 0) - (drawn.peak_memory_bytes or 0)) < 1e6  # NumPy's generators hold 6 MB


@pytest.mark.parametrize(("fmt", "inputs"), [("tflite", NHWC), ("onnx", NCHW)])
def test_inputs_stay_in_place_from_run_to_run(fmt: str, inputs: dict[str, np.ndarray], assets: Path) -> None:
    path = assets / f"reference.{fmt}"
    model = _host_child._RUNTIMES[fmt](str(path), None, 1)
    given = {"x": np.random.default_rng(0).standard_normal(inputs["x"].shape, np.float32)}
    run = model.bound(given)
    for _ in range(3):  # a runtime that reuses an input's memory would compute something else the second time
        run()
    (expected,) = load(path).run(given).values()
    np.testing.assert_array_equal(_output(model, run), expected)


def _output(model: object, run: Callable[[], object]) -> np.ndarray:
    assert isinstance(run, partial)
    if isinstance(model, _host_child._OnnxRuntime):
        return np.asarray(run.args[0].copy_outputs_to_cpu()[0])
    assert isinstance(model, _host_child._LiteRT)
    (detail,) = model._interpreter.get_output_details()
    return np.asarray(model._interpreter.get_tensor(detail["index"]))


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_larger_model_measures_slower_with_intervals_apart(fmt: str, maker: ModuleType, tmp_path: Path) -> None:
    paths = []
    for side in (64, 256):
        maker._SIDE = side
        paths.append(tmp_path / f"{side}.{fmt}")
        paths[-1].write_bytes(maker.tflite_bytes() if fmt == "tflite" else maker.onnx_bytes())
    small, large = Host().measure_interleaved([Subject(path, fmt) for path in paths], processes=3, samples=40)
    assert large.p50_ms > 3 * small.p50_ms  # 16 times the work
    assert large.ci95_ms[0] > small.ci95_ms[1]
    assert large.reference == small.reference
    assert (large.peak_memory_bytes or 0) - (small.peak_memory_bytes or 0) > 1e6  # input and output: 2 MB more


def test_more_processes_run_while_a_limit_is_open(tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)  # a busy machine must not stop this test
    monkeypatch.setattr(_runs, "_PREEMPTED_PER_RUN", 1e9)
    monkeypatch.setattr(_runs, "percentile_interval", lambda samples, q: (0.1, 0.3))
    open_ = host.measure(tflite, "tflite", limit_ms=0.2, processes=2, samples=5, max_processes=5)
    met = host.measure(tflite, "tflite", limit_ms=0.3, processes=2, samples=5, max_processes=5)
    assert open_ is not None
    assert met is not None
    assert (len(open_.samples_ms), open_.meets(0.2)) == (5, "open")
    assert (len(met.samples_ms), met.meets(0.3)) == (2, "met")


def test_a_machine_that_keeps_no_pace_makes_the_measurement_invalid(
    tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", -1.0)  # then any drift is too large
    measured = Host().measure(tflite, "tflite", processes=2, samples=5)
    assert measured is not None
    assert measured.verdict == "invalid"
    assert measured.repeated_processes == 2 * 3
    assert any("the reference" in reason for reason in measured.reasons)
    assert measured.meets(1e9) == "open"


def test_a_disturbed_process_is_run_again(tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _host._ask
    asked = []

    def slow_at_first(mode: str, *given: object, **named: object) -> dict[str, object]:
        answer = real(mode, *given, **named)
        if mode == "latency":
            asked.append(mode)
            answer["references"]["tflite"] = [100_000] * 5 if len(asked) > 1 else [150_000] * 5
            answer["preempted_per_run"] = 0
        return answer

    monkeypatch.setattr(_host, "_ask", slow_at_first)
    measured = Host().measure(tflite, "tflite", processes=2, samples=5)
    assert measured is not None
    assert (measured.repeated_processes, measured.verdict, len(asked)) == (1, "valid", 3)
    assert measured.reference is not None
    assert {value for process in measured.reference.samples_ms for value in process} == {0.1}


def test_a_brief_measurement_takes_one_process_and_says_that_it_does_not_count(tflite: Path) -> None:
    found = Host(brief=True).measure(tflite, "tflite", limit_ms=1e-6)
    assert found is not None
    assert len(found.samples_ms) == 1
    assert len(found.samples_ms[0]) == 50
    assert found.verdict == "invalid"
    assert found.reasons[0] == "it is brief: one process in place of five"


def test_core_ml_is_not_measured_here(tmp_path: Path) -> None:
    assert Host().measure(tmp_path / "m.mlpackage", "coreml") is None
    with pytest.raises(InputError, match="cannot run; leave it out"):
        Host().measure_interleaved([Subject(tmp_path / "m.mlpackage", "coreml")])


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
@pytest.mark.parametrize("content", ["random", "empty", "cut"])
def test_a_file_that_is_no_model_is_refused_in_one_line(fmt: str, content: str, assets: Path, tmp_path: Path) -> None:
    whole = (assets / f"reference.{fmt}").read_bytes()
    noise = np.random.default_rng(0).bytes(4096)
    path = tmp_path / f"broken.{fmt}"
    path.write_bytes({"random": noise, "empty": b"", "cut": whole[: len(whole) // 2]}[content])
    with pytest.raises(ModelFileError, match=r"broken\.\w+ cannot be loaded by") as caught:
        devices.profile(path)
    assert "\n" not in str(caught.value)


def test_bytes_flipped_anywhere_never_reach_this_process(tflite: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    path = tmp_path / "flipped.tflite"
    for _ in range(5):
        content = bytearray(tflite.read_bytes())
        for place in random.integers(8, 600, size=40):
            content[place] ^= 0xFF
        path.write_bytes(bytes(content))
        with pytest.raises((InputError, DeviceError)):
            Host().measure(path, "tflite", NHWC, processes=1, samples=2)


def test_wide_numbers_are_narrowed_as_a_file_reads_them(tflite: Path) -> None:
    wide = {name: value.astype(np.float64) for name, value in NHWC.items()}
    assert Host(brief=True).measure(tflite, "tflite", wide) is not None


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": np.zeros((1, 64, 64, 4), np.float32)}, "inputs are x, but y were given"),
        ({"x": np.zeros((1, 64, 64, 3), np.float32)}, r"must be float32 \(1, 64, 64, 4\), but is float32"),
        ({"x": np.zeros((1, 64, 64, 4), np.int8)}, "must be float32 .* but is int8"),
        ({"a": NHWC, "b": NHWC}, "given for the signatures a, b; say signature="),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, np.ndarray], message: str, tflite: Path) -> None:
    with pytest.raises(InputError, match=message):
        Host().measure(tflite, "tflite", inputs, processes=1, samples=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"percentile": 100.0}, "percentile must lie between 0 and 100"),
    ],
)
def test_arguments_out_of_range_are_refused(change: dict[str, float], message: str, tflite: Path) -> None:
    with pytest.raises(InputError, match=message):
        Host().measure(tflite, "tflite", **change)


def test_the_child_loads_numpy_and_one_runtime_only(tflite: Path) -> None:
    request = {
        "mode": "signatures",
        "files": [{"path": str(tflite), "format": "tflite", "signature": None, "inputs": None, "seed": 0}],
        "core": None,
        "load_limit_s": 60,
        "memory_limit_bytes": 8 << 30,
    }
    child = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", str(_host._CHILD)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(child.stdout.splitlines()[-1]) == {"result": {"signatures": ["main"]}}
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in child.stderr.splitlines() if "|" in line}
    assert {"numpy", "ai_edge_litert"} <= loaded
    assert not loaded & {"torch", "onnxruntime", "mobiledistill", "converters", "pydantic"}


def test_a_runtime_that_never_returns_is_ended(tflite: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo = tmp_path / "endless.tflite"
    os.mkfifo(fifo)  # opening it waits for a writer that never comes
    monkeypatch.setattr(_host, "_LOAD_LIMIT_S", 1)
    monkeypatch.setattr(_host, "_check", lambda subject: None)
    with pytest.raises(ModelFileError, match="ran into the time limit"):
        Host().measure(fifo, "tflite", processes=1, samples=2)


def test_a_folder_holds_one_onnx_file_for_each_signature(onnx: Path, tmp_path: Path) -> None:
    for name in ("encode", "step"):
        shutil.copy(onnx, tmp_path / f"{name}.onnx")
    measured = devices.profile(tmp_path, inputs={"step": NCHW}, processes=1, samples=5)
    assert {name: found.file for name, found in measured.items()} == {"encode": "encode.onnx", "step": "step.onnx"}
    assert measured["step"].signature == "step"


def test_files_take_turns_in_both_orders_behind_the_reference() -> None:
    ran: list[str] = []
    runs = [lambda name=name: ran.append(name) for name in ("a", "b", "reference")]
    samples = _host_child._sample(runs, 3, 2, references_from=2)
    turns = [name for index, name in enumerate(ran) if index == 0 or ran[index - 1] != name]
    assert turns == ["reference", "a", "b", "reference", "b", "a"]
    assert [len(collected) for collected in samples] == [3, 3, 3]


def test_two_formats_are_compared_in_the_same_processes(assets: Path) -> None:
    subjects = [Subject(assets / f"reference.{fmt}", fmt) for fmt in ("tflite", "onnx")]
    tflite, onnx = Host().measure_interleaved(subjects, processes=1, samples=5)
    assert (tflite.runtime.name, onnx.runtime.name) == ("LiteRT", "onnxruntime")
    assert tflite.reference != onnx.reference
