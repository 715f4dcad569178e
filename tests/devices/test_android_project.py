"""The app's project: its core compiled and run on this computer, all Kotlin parsed, manifest and resources linked.

Nothing here compiles what names Android: that wants Google's SDK.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tree_sitter
import tree_sitter_kotlin
from safetensors.numpy import load_file, save_file

from converters import InputError
from mobiledistill.devices._android_app import (
    AppFile,
    AppTensor,
    Configuration,
    _checked,
    _LatencyResult,
    _MemoryResult,
)
from mobiledistill.devices._replies import result_of
from tests.devices._grammar import faults
from tests.devices.phone._apk import APP, linked

PROJECT = APP.parents[2]
GOLDEN = Path(__file__).parent / "golden"


def said(app_core: list[str], folder: Path, configuration: str) -> str:
    (folder / "config.json").write_text(configuration)
    call = [*app_core, "mobiledistill.benchmark.EchoKt", folder]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


def asked(folder: Path, **changes: object) -> Configuration:
    """Two models and a reference, with every kind of value that a network is given."""
    given = {
        "picture": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "tokens": np.array([[1, -2], [3, 2**40]]),
        "bytes \"ü": np.array([-128, 127], np.int8),
    }  # fmt: skip
    save_file(given, folder / "inputs.safetensors")
    (folder / "model").write_text("")
    in_file = list(load_file(folder / "inputs.safetensors"))
    answers = tuple(AppTensor(name=f"{name}!", dtype="F32", shape=()) for name in in_file)
    one = AppFile(
        model="model", inputs="inputs.safetensors", answers=answers, outputs="outputs.safetensors", signature="s"
    )
    other = one.model_copy(update={"outputs": None, "signature": None})
    values = {"run": "run-1", "mode": "latency", "runtime": "litert", "backend": "gpu", "threads": 1} | changes
    files = values.pop("files", (one, other))
    return Configuration(samples=45, block=20, files=files, reference=other, **values)  # type: ignore[arg-type]  # of several kinds


@pytest.mark.long
def test_the_core_says_what_our_reader_reads(app_core: list[str], tmp_path: Path) -> None:
    text = said(app_core, tmp_path, asked(tmp_path).model_dump_json())
    found = _checked(_LatencyResult, result_of(text, "", "", "Echo", "here"))
    assert [len(one.samples_ns) for one in found.files] == [45, 45]
    assert len(found.reference_ns) == 45
    assert min(found.reference_ns) > 100_000
    assert [(one.signature, one.backend, one.batch) for one in found.files] == [("s", "gpu", 2), ("main", "gpu", 2)]
    given, answered = load_file(tmp_path / "inputs.safetensors"), load_file(tmp_path / "outputs.safetensors")
    assert {f"{name}!" for name in given} == set(answered)
    assert all(np.array_equal(value, answered[f"{name}!"]) for name, value in given.items())
    assert all(value.dtype == answered[f"{name}!"].dtype for name, value in given.items())


@pytest.mark.long
def test_the_core_tells_memory_and_what_does_not_fit(app_core: list[str], tmp_path: Path) -> None:
    whole = asked(tmp_path)
    one = asked(tmp_path, mode="memory", files=whole.files[:1])
    assert _checked(
        _MemoryResult, result_of(said(app_core, tmp_path, one.model_dump_json()), "", "", "Echo", "here")
    ).peak_memory_bytes
    missing = one.model_copy(update={"files": (one.files[0].model_copy(update={"model": "none"}),)})
    with pytest.raises(InputError, match="there is no none"):
        result_of(said(app_core, tmp_path, missing.model_dump_json()), "", "", "Echo", "here")


def kinds(value: object) -> object:
    """What a JSON value is made of, its figures and texts aside; a list by the kinds of its members."""
    if isinstance(value, dict):
        return {name: kinds(member) for name, member in value.items()}
    if isinstance(value, list):
        return [one for place, one in enumerate(map(kinds, value)) if one not in list(map(kinds, value))[:place]]
    return "number" if isinstance(value, int | float) else type(value).__name__


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("mode", ["latency", "memory"])
def test_this_computer_writes_the_golden_configuration_and_reads_the_golden_answer(mode: str) -> None:
    text = (GOLDEN / f"{mode}.json").read_text()
    assert json.loads(Configuration.model_validate_json(text).model_dump_json()) == json.loads(text)
    found = result_of((GOLDEN / f"{mode}.jsonl").read_text(), "", "", "LiteRT", "here")
    with pytest.raises(InputError, match=r"student: there is no 0-student\.tflite"):
        result_of((GOLDEN / "error.jsonl").read_text(), "", "student", "LiteRT", "here")
    if mode == "memory":
        assert _checked(_MemoryResult, found).peak_memory_bytes == 2_068_480
        return
    told = _checked(_LatencyResult, found)
    assert told.reference_ns == (61_000, 60_500, 60_750)
    assert told.files[1].samples_ns == (410_000, 405_125, 402_000)
    assert (told.files[0].backend, told.files[0].load_warm_ms, told.version) == ("gpu", 9.5, "2.3.0")


@pytest.mark.long
@pytest.mark.parametrize("mode", ["latency", "memory"])
def test_the_app_reads_the_golden_configuration_and_writes_the_golden_answer(
    app_core: list[str], tmp_path: Path, mode: str
) -> None:
    text = (GOLDEN / f"{mode}.json").read_text()
    given = json.loads(text)
    for file in [*given["files"], *([given["reference"]] if given["reference"] else [])]:
        (tmp_path / file["model"]).touch()
        save_file({"x": np.zeros((1, 4), np.float32)}, tmp_path / file["inputs"])
    golden = lines((GOLDEN / f"{mode}.jsonl").read_text())
    assert kinds(lines(said(app_core, tmp_path, text))) == kinds(golden)
    (tmp_path / given["files"][0]["model"]).unlink()
    assert kinds(lines(said(app_core, tmp_path, text))) == kinds(lines((GOLDEN / "error.jsonl").read_text()))
    unknown = json.dumps(given | {"later": 1})
    with pytest.raises(subprocess.CalledProcessError) as ended:
        said(app_core, tmp_path, unknown)
    assert "the configuration has later, which this app does not know" in ended.value.stderr


@pytest.mark.parametrize("mode", ["latency", "memory"])
def test_the_program_of_the_shell_says_all_of_the_golden_answer(
    harness: Path, libraries: dict[str, Path], tflite: Path, mode: str
) -> None:
    call = [harness, mode, "--runtime", "litert", "--library", libraries["tflite"], "--model", tflite]
    call += ["--samples", "3", *(["--reference", tflite] if mode == "latency" else [])]
    told = lines(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    golden = lines((GOLDEN / f"{mode}.jsonl").read_text())
    due, found = golden[-1]["result"], told[-1]["result"]
    assert kinds(told[:-1]) == kinds(golden[:-1])
    assert kinds({name: found[name] for name in due}) == kinds(due)  # it also tells of the machine
    call[call.index(tflite)] = "missing.tflite"
    told = lines(subprocess.run(call, check=False, capture_output=True, text=True).stdout)
    assert kinds(told) == kinds(lines((GOLDEN / "error.jsonl").read_text()))


def test_every_kotlin_file_parses() -> None:
    language = tree_sitter.Language(tree_sitter_kotlin.language())
    assert faults(language, b"fun broken( {")  # it does tell
    sources = sorted(PROJECT.rglob("*.kt*"))
    assert len(sources) > 8
    assert not [f"{path.name}:{fault}" for path in sources for fault in faults(language, path.read_bytes())]


def test_the_core_knows_no_android() -> None:
    wrong = [path.name for path in (PROJECT / "core").rglob("*.kt") if "import android" in path.read_text()]
    assert not wrong


def test_manifest_and_resources_link(tmp_path: Path) -> None:
    told = subprocess.run(
        ["aapt", "dump", "badging", linked(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "name='mobiledistill.benchmark'" in told
    assert "application-label:'mobiledistill'" in told
    assert "launchable-activity: name='mobiledistill.demos.DemosActivity'" in told
