"""The app's path: a real APK, installed by the real adb; a stand-in that runs mdharness plays the app."""

from __future__ import annotations

import json
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

from converters import DeviceError, Format, InputError
from mobiledistill.cli import _files, main
from mobiledistill.devices import Android, Subject, _android_app, _android_visit, _runs, examine
from mobiledistill.devices import open as open_device
from mobiledistill.devices._android_app import PACKAGE
from tests.contract.searching_device import meets_a_latency_budget
from tests.devices.phone import Phone
from tests.devices.phone._apk import built

FILES = f"/sdcard/Android/data/{PACKAGE}/files"
# Reads the configuration as the app does, and answers with what mdharness prints.
STAND_IN = """
import json, os, pathlib, subprocess, sys
files, verb, run = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder = files / run
if verb == "prepare":
    folder.mkdir(parents=True)
    sys.exit()
asked = json.loads((folder / "config.json").read_text())
assert asked["run"] == run
call = [HARNESS, asked["mode"], "--runtime", asked["runtime"], "--library", LIBRARIES[asked["runtime"]]]
call += ["--threads", str(asked["threads"]), "--samples", str(asked["samples"]), "--block", str(asked["block"])]
for one in asked["files"]:
    call += ["--model", one["model"], "--inputs", one["inputs"]]
    call += ["--signature", one["signature"]] if one["signature"] else []
    call += ["--outputs", one["outputs"]] if one["outputs"] else []
call += ["--reference", asked["reference"]["model"]] if asked["reference"] else []
said = subprocess.run(call, cwd=folder, capture_output=True, text=True).stdout
if asked["backend"] != "cpu":
    *phases, last = said.splitlines()
    answer = json.loads(last)
    for one in answer["result"].get("files", []):
        one["backend"] = asked["backend"] + " of 3 operators, the CPU of 2"
    said = "\\n".join([*phases, json.dumps(answer)])
(folder / "result.json.partial").write_text(said)
(folder / "result.json.partial").rename(folder / "result.json")
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
    monkeypatch.setattr(_runs, "_PREEMPTED_PER_RUN", 1e9)
    monkeypatch.setattr(_android_visit, "_POLL_S", 0.05)
    monkeypatch.setattr(_android_app, "_POLL_S", 0.1)


@pytest.fixture(scope="module")
def apk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("apk"))


@pytest.fixture
def model(tflite: Path, onnx: Path) -> dict[Format, Path]:
    return {"tflite": tflite, "onnx": onnx}


@pytest.fixture
def app(phone: Phone, harness: Path, libraries: dict[str, Path], tmp_path: Path) -> Phone:
    """A phone on which a stand-in plays the app."""
    program = tmp_path / "app.py"
    places = {"litert": str(libraries["tflite"]), "onnxruntime": str(libraries["onnx"])}
    program.write_text(f"HARNESS, LIBRARIES = {str(harness)!r}, {places!r}\n{STAND_IN}")
    phone.set("app", f'exec "{sys.executable}" "{program}" "$@"')
    return phone


def plays(phone: Phone, script: str) -> None:
    """From now on the app makes its folder, and then does this."""
    phone.set("app", f'mkdir -p "$1/$3"; cd "$1/$3"; [ "$2" = prepare ] && exit; {script}')


def installs(phone: Phone) -> int:
    return sum("package" in command and " -S " in command for command in phone.commands)


def left_behind(phone: Phone) -> list[str]:
    folder = phone.path(FILES)
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(("fmt", "backend"), [("tflite", "cpu"), ("tflite", "gpu"), ("onnx", "nnapi")])
def test_the_app_measures_and_its_answers_are_checked(
    app: Phone, apk: Path, model: dict[Format, Path], fmt: Format, backend: str
) -> None:
    device = Android(app.address, app=apk, backend=backend)
    measured = device.measure(model[fmt], fmt, processes=2, samples=30)
    assert measured is not None
    assert (measured.verdict, measured.path_kind) == ("valid", "app")
    assert measured.backend.asked == backend
    assert (measured.backend.obtained == f"{backend} of 3 operators, the CPU of 2") == (backend != "cpu")
    assert [len(process) for process in measured.samples_ms] == [30, 30]
    assert measured.outputs is not None
    assert measured.outputs.sqnr_db > 60
    assert measured.peak_memory_bytes is not None
    assert measured.peak_memory_bytes > 10_000
    assert measured.reference is not None
    assert left_behind(app) == []
    assert app.get("setting.global.stay_on_while_plugged_in") == "0"


@pytest.mark.long
def test_the_search_asks_the_app(app: Phone, apk: Path, tmp_path: Path) -> None:
    assert meets_a_latency_budget(Android(app.address, app=apk), tmp_path).path_kind == "app"


def test_the_apk_is_installed_once_and_again_where_it_changed(
    app: Phone, apk: Path, tmp_path: Path, tflite: Path
) -> None:
    for _ in range(2):
        Android(app.address, app=apk).measure(tflite, "tflite", processes=1, samples=1)
    assert installs(app) == 1
    Android(app.address, app=built(tmp_path, version=2)).measure(tflite, "tflite", processes=1, samples=1)
    assert installs(app) == 2


def test_two_files_take_turns_in_one_process(app: Phone, apk: Path, tflite: Path) -> None:
    one, same = Android(app.address, app=apk).measure_interleaved(
        [Subject(tflite, "tflite")] * 2, processes=1, samples=5
    )
    assert one.reference == same.reference
    assert sum("am start" in command and " run run-" in command for command in app.commands) == 3  # two are of memory


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            'echo \'{"phase": "load"}\' > result.json.partial; exit 139',
            r"ended before it answered, in the phase 'load' of reference.tflite on cpu\. .* words: Fatal signal 11",
        ),
        ("sleep 30", r"gave no answer within 1 s, in the phase 'start'"),
        ('echo \'{"phase": "run"}\' > result.json; sleep 5', "it wrote no whole result"),
        ('echo \'{"result": {"files": []}}\' > result.json; sleep 5', "result is not understood .reference_ns"),
        ("head -c 3000 /dev/urandom > result.json; sleep 5", "it wrote no whole result"),
        (
            'echo \'{"phase": "run"}\n{"error": {"kind": "failure", "message": "no such operator"}}\' > result.json',
            "loads, but does not run in LiteRT: no such operator",
        ),
    ],
)
def test_every_death_of_the_app_is_one_line_and_leaves_nothing(
    phone: Phone, apk: Path, tflite: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setattr(_android_app, "_RUN_S", 1.0)
    phone.set("logcat", "Fatal signal 11 (SIGSEGV), code 1")
    plays(phone, script)
    with pytest.raises(DeviceError, match=message) as raised:
        Android(phone.address, app=apk).measure(tflite, "tflite", processes=1, samples=1)
    assert "\n" not in str(raised.value)
    assert left_behind(phone) == []
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"


def test_wrong_answers_do_not_count(app: Phone, apk: Path, tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _android_app.AppRuns._push_inputs
    monkeypatch.setattr(
        _android_app.AppRuns,
        "_push_inputs",
        lambda self, name, inputs: real(self, name, {key: -1 - value for key, value in inputs.items()}),
    )
    measured = Android(app.address, app=apk).measure(tflite, "tflite", processes=1, samples=1)
    assert measured is not None
    assert measured.verdict == "invalid"


def test_another_app_and_no_app_are_refused(app: Phone, tmp_path: Path, tflite: Path) -> None:
    with pytest.raises(DeviceError, match=f"is another app than {PACKAGE}"):
        Android(app.address, app=built(tmp_path, package="some.other")).measure(tflite, "tflite")
    broken = tmp_path / "broken.apk"
    broken.write_text("no archive")
    with pytest.raises(DeviceError, match="give an APK that is whole and signed"):
        Android(app.address, app=broken).measure(tflite, "tflite")


def test_what_does_not_go_together_is_refused(tmp_path: Path, tflite: Path) -> None:
    for backend in ("gpu", "cpu"):
        with pytest.raises(InputError, match=f"The backend '{backend}' needs the app: give the APK"):
            Android("1", backend=backend)
    with pytest.raises(InputError, match="An app was given for 'host', but only adb:SERIAL"):
        open_device("host", app=tflite)
    with pytest.raises(InputError, match="no backend 'tpu'; the app knows cpu, gpu, nnapi, npu, qnn, xnnpack"):
        Android("1", app=tflite, backend="tpu")
    with pytest.raises(InputError, match="one of them measures"):
        Android("1", app=tflite, tool=tflite)
    with pytest.raises(InputError, match=r"does not exist; build it from demo_apps/android"):
        Android("1", app=tmp_path / "none.apk")


def test_what_measures_stands_in_the_name_and_decides_the_formats(tflite: Path) -> None:
    shell, cpu, gpu = Android("1"), Android("1", app=tflite), open_device("adb:1", app=tflite, backend="gpu")
    assert [one.name for one in (shell, cpu, gpu)] == ["adb:1", "adb:1 by the app on cpu", "adb:1 by the app on gpu"]
    assert [one.formats for one in (shell, cpu, gpu)] == [("tflite", "onnx"), ("tflite", "onnx"), ("tflite",)]
    assert Android("1", tool=tflite).name == "adb:1 by reference.tflite"


def test_the_command_line_measures_in_the_app(
    app: Phone, apk: Path, tflite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_files, "measure", partial(_files.measure, processes=1, samples=1))
    words = ["profile", str(tflite), "--device", f"adb:{app.address}", "--app", str(apk), "--backend", "gpu", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    (measured,) = json.loads(capsys.readouterr().out).values()
    assert (measured["path_kind"], measured["backend"]["asked"]) == ("app", "gpu")


def test_the_doctor_looks_at_the_app(app: Phone, apk: Path, tmp_path: Path, tflite: Path) -> None:
    def seen(apk: Path) -> dict[str, tuple[str, bool]]:
        return {gate.name: (gate.seen, gate.passed) for gate in examine(f"adb:{app.address}", app=apk)}

    found = seen(apk)
    assert found["app"] == ("not installed", False)
    assert found["app's processor"] == ("any", True)
    assert "runtimes" not in found  # those of our program, which does not run
    Android(app.address, app=apk).measure(tflite, "tflite", processes=1, samples=1)
    assert seen(apk)["app"] == ("installed", True)
    other = tmp_path / "other.apk"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("lib/x86/libLiteRt.so", "")
    assert seen(other)["app"] == ("another build is installed", False)
    assert seen(other)["app's processor"] == ("x86", False)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("lib/arm64-v8a/libLiteRt.so", "")
    assert seen(other)["app's processor"] == ("arm64-v8a, x86", True)
    other.write_text("no archive")
    assert seen(other)["app"] == ("other.apk is no whole APK", False)


def test_a_format_runs_on_its_own_backends(app: Phone, apk: Path, tflite: Path) -> None:
    with pytest.raises(InputError, match=r"runs .tflite files on cpu, gpu, npu, but got the backend 'qnn'"):
        Android(app.address, app=apk, backend="qnn").measure(tflite, "tflite")
