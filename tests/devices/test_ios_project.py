"""The app's project: all Swift parsed, what it reads and writes compared with what this side writes and reads.

Nothing here compiles Swift: that wants a Mac, or a toolchain that Debian does not have.
"""

from __future__ import annotations

import ctypes
import json
import plistlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import yaml

import mobiledistill.devices
from demo_apps.detection._task import CellsTask
from demo_apps.speech._features import FRAMES, MELS, SAMPLE_RATE
from demo_apps.speech._task import DigitsTask
from demo_apps.speech.sentences._listen import CHUNK_FRAMES, Listener
from demo_apps.translation._task import TranslationTask
from demo_apps.translation._vocabulary import UNKNOWN
from mobiledistill.devices._ios import _HEAT, BUNDLE, AppleUnit, _Result
from tests.devices._grammar import faults, walked
from tests.devices._swift import Declarations, language, parsed
from tests.devices.phone._fixtures import needs

PROJECT = Path(__file__).parents[2] / "demo_apps" / "ios"
NATIVE = Path(mobiledistill.devices.__file__).parent / "assets" / "native"
GOLDEN = Path(__file__).parent / "iphone" / "golden"
SOURCES = sorted(PROJECT.rglob("*.swift"))
WANTED = {"AVCaptureDevice": "NSCameraUsageDescription", "AVAudioApplication": "NSMicrophoneUsageDescription"}


@pytest.fixture(scope="module")
def declared() -> Declarations:
    return Declarations(SOURCES)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / "project.yml").read_text()))


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def test_every_swift_file_parses() -> None:
    assert faults(language(), b"func broken( {")  # it does tell
    assert len(SOURCES) > 15
    assert not [f"{path.name}:{fault}" for path in SOURCES for fault in faults(language(), path.read_bytes())]


def test_the_core_knows_no_phone() -> None:
    used = {
        (path.name, (node.child(1).text or b"").decode())
        for path in (PROJECT / "Core").rglob("*.swift")
        for node in walked(parsed(path))
        if node.type == "import_declaration" and node.child(1) is not None
    }
    assert {module for _, module in used} == {"Foundation", "MobiledistillNative"}, used


# -- the JSON between the computer and the app --------------------------------------------------------------------


def test_the_app_reads_and_writes_the_golden_files(declared: Declarations) -> None:
    assert not declared.disagreements("Configuration", golden("config.json"))
    assert not declared.disagreements("BenchmarkResult", golden("result.json"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"low_power": 1}, "BenchmarkResult.low_power is 1, no Bool"),
        ({"units": [{}]}, "BenchmarkResult.units[0] lacks samples_ms"),
        ({"battery": 3}, "BenchmarkResult has battery besides"),
    ],
)
def test_a_difference_is_seen(declared: Declarations, change: dict[str, Any], told: str) -> None:
    assert told in declared.disagreements("BenchmarkResult", golden("result.json") | change)


def test_this_side_reads_all_that_the_app_writes() -> None:
    read = _Result.model_validate_json((GOLDEN / "result.json").read_bytes())
    assert read.model_dump(by_alias=True, mode="json") == golden("result.json")


def test_both_sides_know_the_same_words(declared: Declarations) -> None:
    assert declared.cases("ComputeUnits") == set(get_args(AppleUnit))
    assert declared.cases("ThermalState") == set(_HEAT)


# -- what the demos' runs leave beside their files ------------------------------------------------------------------


def assets_of(demo: str) -> dict[str, bytes]:
    if demo == "digits":
        return dict(DigitsTask.assets(SimpleNamespace(mean=-4.5, deviation=2.5)))  # type: ignore[arg-type]  # what it asks of a task
    if demo == "detection":
        return dict(CellsTask.assets(SimpleNamespace(classes=("RBC", "WBC"))))  # type: ignore[arg-type]  # likewise
    if demo == "translation":
        learned = SimpleNamespace(model=b"")
        asked = SimpleNamespace(source_vocabulary=learned, target_vocabulary=learned)
        return dict(TranslationTask.assets(asked))  # type: ignore[arg-type]  # likewise
    caches = {"past_1": (1, 8, 1, 10)}
    listener = Listener((0.5,) * 64, (1.5,) * 64, caches, (("new_1", "past_1"),))
    return {"listener.json": listener.to_json().encode()}


@pytest.mark.parametrize(
    ("demo", "asset", "facts"),
    [
        ("digits", "features.json", "Digits.Facts"),
        ("sentences", "listener.json", "Sentences.Facts"),
        ("detection", "detection.json", "Detector.Facts"),
        ("translation", "limits.json", "Translator.Limits"),
    ],
)
def test_the_demos_read_what_runs_write(declared: Declarations, demo: str, asset: str, facts: str) -> None:
    written = json.loads(assets_of(demo)[asset])
    assert not declared.disagreements(facts, written, exactly=False)
    broken = dict(list(written.items())[1:]) if demo == "digits" else {}
    assert declared.disagreements(facts, broken, exactly=False)


@pytest.mark.parametrize("demo", ["digits", "detection", "translation"])
def test_every_asset_that_is_read_is_written(demo: str) -> None:
    source = {"digits": "Digits", "detection": "Detector", "translation": "Translator"}[demo]
    read = {
        text for text in strings(PROJECT / "Core" / f"{source}.swift") if text.endswith((".json", ".txt", ".model"))
    }
    assert read
    assert read <= assets_of(demo).keys()


# -- what the project is made of -------------------------------------------------------------------------------------


def test_the_property_list_allows_what_the_app_does() -> None:
    known = plistlib.loads((PROJECT / "App" / "Info.plist").read_bytes())
    assert known["UIFileSharingEnabled"] is True  # by which pymobiledevice3 and Finder reach Documents
    used = {name for path in SOURCES for name in identifiers(path)}
    assert used & WANTED.keys() == WANTED.keys()
    assert all(known[key].strip() for key in WANTED.values())


def test_the_project_names_what_exists(project: dict[str, Any]) -> None:
    target = project["targets"]["Harness"]
    settings = target["settings"]["base"]
    assert settings["PRODUCT_BUNDLE_IDENTIFIER"] == BUNDLE
    assert (PROJECT / settings["INFOPLIST_FILE"]).is_file()
    assert (PROJECT / settings["SWIFT_INCLUDE_PATHS"].removeprefix("$(SRCROOT)/") / "module.modulemap").is_file()
    folders = [source for source in target["sources"] if isinstance(source, str)]
    assert all(any(path.is_relative_to(PROJECT / folder) for folder in folders) for path in SOURCES)
    [native] = [source for source in target["sources"] if isinstance(source, dict)]
    assert (PROJECT / native["path"]).resolve() == NATIVE
    assert all((NATIVE / name).is_file() for name in native["includes"])
    assert project["schemes"]["Harness"]["run"] == {"config": "Release", "debugEnabled": False}


def test_the_module_map_names_headers_that_exist(project: dict[str, Any]) -> None:
    [native] = [source for source in project["targets"]["Harness"]["sources"] if isinstance(source, dict)]
    lines = (PROJECT / "Native" / "module.modulemap").read_text().splitlines()
    headers = [PROJECT / "Native" / line.split('"')[1] for line in lines if line.strip().startswith("header ")]
    assert headers
    assert all(header.is_file() for header in headers)
    assert {header.stem for header in headers} == {Path(name).stem for name in native["includes"]}


def test_what_swift_calls_in_c_is_there(tmp_path: Path, project: dict[str, Any]) -> None:
    needs("gcc")
    [native] = [source for source in project["targets"]["Harness"]["sources"] if isinstance(source, dict)]
    library = tmp_path / "libnative.so"
    files = [NATIVE / name for name in native["includes"]]
    subprocess.run(["gcc", "-std=c11", "-shared", "-fPIC", *files, "-o", library, "-lm"], check=True)
    called = {name for path in SOURCES for name in identifiers(path) if name.startswith("md_")} - TYPES
    opened = ctypes.CDLL(str(library))
    assert len(called) > 8
    assert not [name for name in called if not hasattr(opened, name)]


def test_numbers_that_both_sides_hold_agree() -> None:
    header = (NATIVE / "mdapp.h").read_text()
    assert f"MD_DIGITS_BANDS = {MELS}, MD_DIGITS_FRAMES = {FRAMES}" in header
    assert f"MD_DIGITS = {{{SAMPLE_RATE}," in (NATIVE / "mdapp.c").read_text()
    assert json.loads(assets_of("sentences")["listener.json"])["chunk_frames"] == CHUNK_FRAMES
    assert f"unknown: Int32 = {UNKNOWN}" in (PROJECT / "Core" / "Translator.swift").read_text()


TYPES = {"md_mel_spec", "md_detection"}


def identifiers(path: Path) -> Iterator[str]:
    kinds = ("simple_identifier", "type_identifier")
    return ((node.text or b"").decode() for node in walked(parsed(path)) if node.type in kinds)


def strings(path: Path) -> Iterator[str]:
    return ((node.text or b"").decode() for node in walked(parsed(path)) if node.type == "line_str_text")
