"""The program for phones, on this computer: what it says, and that it answers as Python's runtimes do."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters import Format
from mobiledistill.devices import Host, Subject
from mobiledistill.devices._host import answers

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


def asked(harness: Path, libraries: dict[str, Path], mode: str, fmt: Format, *words: object) -> list[dict[str, Any]]:
    """The lines that it says."""
    call = [harness, mode, "--runtime", RUNTIMES[fmt], "--library", libraries[fmt], *words]
    ran = subprocess.run([str(word) for word in call], capture_output=True, text=True, timeout=120)
    assert ran.returncode in (0, 1), ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ("result" in lines[-1]) == (ran.returncode == 0)
    return lines


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_it_times_a_file_in_turns_with_the_reference_and_gives_the_hosts_answers(
    harness: Path, libraries: dict[str, Path], assets: Path, tmp_path: Path, fmt: Format
) -> None:
    model = assets / f"reference.{fmt}"
    (due,) = answers([Subject(model, fmt)])
    save_file(due.inputs, tmp_path / "in.safetensors")
    words = ["--model", model, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors"]
    lines = asked(harness, libraries, "latency", fmt, "--reference", model, "--samples", 7, "--block", 3, *words)
    assert [line.get("phase") for line in lines] == ["start", "load", "inputs", "run", None]
    result = lines[-1]["result"]
    (file,) = result["files"]
    assert len(file["samples_ns"]) == len(result["reference_ns"]) == 7
    assert all(1000 < value < 1e9 for value in file["samples_ns"])
    assert (file["signature"], file["batch"]) == ("main", 1)
    assert 0 < file["load_warm_ms"] < file["load_cold_ms"] + 100
    answered = load_file(tmp_path / "out.safetensors")
    assert set(answered) == set(due.outputs)
    for name, value in due.outputs.items():
        np.testing.assert_allclose(answered[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_memory_is_that_of_the_host_within_a_megabyte(
    harness: Path, libraries: dict[str, Path], assets: Path, fmt: Format
) -> None:
    model = assets / f"reference.{fmt}"
    found = asked(harness, libraries, "memory", fmt, "--model", model)[-1]["result"]["peak_memory_bytes"]
    host = Host().measure(model, fmt, processes=1, samples=1)
    assert host is not None
    assert host.peak_memory_bytes is not None
    assert abs(found - host.peak_memory_bytes) < 3e6


def test_signatures_are_listed(harness: Path, libraries: dict[str, Path], assets: Path) -> None:
    for fmt in ("tflite", "onnx"):
        found = asked(harness, libraries, "signatures", fmt, "--model", assets / f"reference.{fmt}")[-1]
        assert found["result"]["signatures"] == ["main"]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda x: {"other": x}, "input", "no value was given for the input x"),
        (lambda x: {"x": x[..., :1]}, "input", "another shape or type"),
        (lambda x: {"x": x.astype(np.float64)}, "input", "another shape or type"),
        (lambda x: {"x": x, "y": x}, "input", "2 inputs were given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    harness: Path, libraries: dict[str, Path], tflite: Path, tmp_path: Path, make: Any, kind: str, message: str
) -> None:
    (due,) = answers([Subject(tflite, "tflite")])
    save_file(make(due.inputs["x"]), tmp_path / "in.safetensors")
    lines = asked(harness, libraries, "outputs", "tflite", "--model", tflite, "--inputs", tmp_path / "in.safetensors")
    assert lines[-1]["error"]["kind"] == kind
    assert message in lines[-1]["error"]["message"]


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_file_that_is_no_model_fails_while_it_is_loaded(
    harness: Path, libraries: dict[str, Path], tmp_path: Path, fmt: Format
) -> None:
    (tmp_path / "m").write_bytes(b"no model at all, but long enough to look at")
    lines = asked(harness, libraries, "latency", fmt, "--model", tmp_path / "m")
    assert lines[-2:-1] == [{"phase": "load"}]
    assert lines[-1]["error"]["kind"] == "failure"


def test_a_library_that_is_none_fails_at_the_start(harness: Path, tflite: Path, onnx: Path) -> None:
    for fmt, why in (("tflite", "invalid ELF header"), ("onnx", "invalid ELF header")):
        lines = asked(harness, {fmt: onnx}, "latency", fmt, "--model", tflite)
        assert lines[0] == {"phase": "start"}
        assert why in lines[-1]["error"]["message"]


def test_without_sense_it_says_how_it_is_used(harness: Path) -> None:
    for words in (
        [],
        ["latency"],
        ["latency", "--model"],
        ["fly", "--runtime", "litert", "--library", "x", "--model", "y"],
    ):
        ran = subprocess.run([harness, *words], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "usage: mdharness" in ran.stderr
        assert "example: " in ran.stderr


def test_damaged_inputs_are_refused_and_nothing_else(
    harness: Path, libraries: dict[str, Path], tflite: Path, tmp_path: Path
) -> None:
    (due,) = answers([Subject(tflite, "tflite")])
    save_file({"x": due.inputs["x"][:, :2]}, tmp_path / "small.safetensors", metadata={"note": 'a "quoted" word'})
    whole = (tmp_path / "small.safetensors").read_bytes()
    draw = random.Random(0)
    path = tmp_path / "mutated.safetensors"
    for _ in range(60):
        damaged = bytearray(whole[: draw.randrange(len(whole) + 1)] if draw.random() < 0.3 else whole)
        for _ in range(draw.randrange(1, 6)):
            if damaged:
                damaged[draw.randrange(min(len(damaged), 200))] = draw.randrange(256)
        path.write_bytes(bytes(damaged))
        lines = asked(harness, libraries, "outputs", "tflite", "--model", tflite, "--inputs", path)
        assert lines[-1]["error"]["kind"] == "input"
