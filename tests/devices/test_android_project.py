"""The app's project: its core compiled and run on this computer, all Kotlin parsed, manifest and resources linked.

Nothing here compiles what names Android: that wants Google's SDK.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

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
from tests.devices.phone._fixtures import needs

PROJECT = APP.parents[2]
ECHO = Path(__file__).parent / "phone" / "Echo.kt"
STDLIB = "/usr/share/java/kotlin-stdlib.jar"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("kotlinc", "java")
    jar = tmp_path_factory.mktemp("core") / "core.jar"
    subprocess.run(["kotlinc", PROJECT / "core" / "src" / "main" / "kotlin", ECHO, "-d", jar], check=True)
    return jar


def said(core: Path, folder: Path, configuration: Configuration) -> str:
    (folder / "config.json").write_text(configuration.model_dump_json())
    call = ["java", "-cp", f"{core}:{STDLIB}", "mobiledistill.benchmark.EchoKt", folder]
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
def test_the_core_says_what_our_reader_reads(core: Path, tmp_path: Path) -> None:
    text = said(core, tmp_path, asked(tmp_path))
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
def test_the_core_tells_memory_and_what_does_not_fit(core: Path, tmp_path: Path) -> None:
    whole = asked(tmp_path)
    one = asked(tmp_path, mode="memory", files=whole.files[:1])
    assert _checked(_MemoryResult, result_of(said(core, tmp_path, one), "", "", "Echo", "here")).peak_memory_bytes
    missing = one.model_copy(update={"files": (one.files[0].model_copy(update={"model": "none"}),)})
    with pytest.raises(InputError, match="there is no none"):
        result_of(said(core, tmp_path, missing), "", "", "Echo", "here")


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
    assert "mobiledistill benchmark" in told
