"""``mobiledistill devices`` and ``doctor --device``, with the real adb and a real browser."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

import mobiledistill.devices
from mobiledistill.cli import _files, main
from mobiledistill.devices import Programs, _android, _android_visit
from tests.devices.phone import Faults, Phone
from tests.devices.phone._fixtures import connect

STORE = "/data/local/tmp/mobiledistill"
MODEL = Path(mobiledistill.devices.__file__).parent / "assets" / "reference.tflite"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(
    "command", [("devices",), ("devices", "prepare"), ("devices", "prepare-browser"), ("devices", "clean"), ("doctor",)]
)
def test_help_shows_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    assert "Example: mobiledistill" in capsys.readouterr().out


def test_phones_are_listed_with_what_to_do(
    phone: Phone, programs: Programs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(programs.folder))
    assert run("devices", "--json") == 0
    host, found, *_ = json.loads(capsys.readouterr().out)
    assert (host["name"], host["ready"]) == ("host", True)
    assert found == {"name": f"adb:{phone.address}", "about": "Fixture", "ready": True, "why": ""}
    phone.set("battery_level", 12)
    monkeypatch.setenv("COLUMNS", "200")
    assert run("devices") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "battery 12 %: charge it" in shown


def test_a_phone_without_programs_is_told_how_to_make_them(
    phone: Phone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(tmp_path / "nothing"))
    assert run("devices", "--json") == 0
    _, found, *_ = json.loads(capsys.readouterr().out)
    assert not found["ready"]
    assert "mobiledistill devices prepare" in found["why"]


def test_one_runtime_is_enough_for_its_format(
    phone: Phone,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(programs.folder, tmp_path / "programs")
    (tmp_path / "programs" / "arm64-v8a" / "libonnxruntime.so").unlink()
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(tmp_path / "programs"))
    assert run("doctor", "--device", f"adb:{phone.address}") == 0
    assert "no onnxruntime" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "programs" / "arm64-v8a" / "libLiteRt.so").unlink()
    assert run("doctor", "--device", f"adb:{phone.address}") == 4


def test_phones_that_cannot_be_used_yet_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = (
        "List of devices attached",
        "1A2B3C           unauthorized usb:1-2 transport_id:4",
        "4D5E6F           offline usb:1-3 transport_id:5",
        "7G8H9I           no permissions (user in plugdev group; are your udev rules wrong?); see [http://x] usb:1-4",
        "",
    )
    adb = tmp_path / "adb"  # phones in these states cannot be had here
    adb.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(listed) + "\nEND\n")
    adb.chmod(0o755)
    monkeypatch.setenv("ADB", str(adb))
    assert run("devices", "--json") == 0
    _, first, second, third, *_ = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in (first, second, third)] == ["adb:1A2B3C", "adb:4D5E6F", "adb:7G8H9I"]
    assert "allow this computer" in first["why"]
    assert "plug it in again" in second["why"]
    assert "apt install" in third["why"]


def test_without_adb_the_list_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADB", "/no/such/adb")
    assert run("devices", "--json") == 0
    _, missing, *_ = json.loads(capsys.readouterr().out)
    assert not missing["ready"]
    assert "platform tools" in missing["why"]


def test_the_doctor_looks_at_every_condition(
    phone: Phone, programs: Programs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(programs.folder))
    assert run("doctor", "--device", f"adb:{phone.address}") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("arm64-v8a", "LiteRT 2.3.0", "onnxruntime 1.32.0", "87 %", "thermal status none", "screen"):
        assert words in shown
    phone.set("setting.global.low_power", 1)
    assert run("doctor", "--device", f"adb:{phone.address}") == 4
    captured = capsys.readouterr()
    assert "turn it off" in " ".join(captured.out.split())
    assert captured.err.count("\n") == 1
    assert not [command for command in phone.commands if command.startswith(("svc", "input", "mkdir"))]


@pytest.mark.parametrize("arguments", [(), ("runs/mine", "--device", "host")])
def test_the_doctor_takes_one_patient(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", *arguments) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_profile_on_a_phone_is_one_json_object(
    phone: Phone, programs: Programs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(programs.folder))
    monkeypatch.setattr(_files, "measure", partial(_files.measure, processes=1, samples=5))  # emulated, it takes long
    assert run("profile", MODEL, "--device", f"adb:{phone.address}", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert found["path_kind"] == "shell"
    assert found["outputs"]["sqnr_db"] > 60
    phone.set("battery_level", 3)
    assert run("profile", MODEL, "--device", f"adb:{phone.address}") == 4
    said = capsys.readouterr().err.strip()
    assert "battery 3 %" in said
    assert "\n" not in said


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "state", "said"),
    [
        ({"pulled_after_bytes": 3_000_000}, {}, ""),
        ({"full_after_bytes": 1_000_000}, {}, "has no room"),
        ({"hanging": "mdharness latency"}, {}, "did not end within"),
        ({"exits": {"mdharness latency": 137}}, {}, "status 137"),
        ({"exits": {"mdharness latency": 132}}, {}, "SIGILL"),
        ({"exits": {"mdharness latency": 1}}, {}, "status 1"),
        ({}, {"thermal_status": 3}, "stays warm"),
        ({}, {"setting.global.low_power": 1}, "battery saver"),
        ({"unauthorized": True}, {}, ""),
    ],
    ids=["pulled", "full", "hanging", "killed", "sigill", "failed", "hot", "saving", "unauthorized"],
)
def test_every_fault_is_one_line_and_exit_4_and_the_same_command_then_works(
    phone: Phone,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: dict[str, object],
    state: dict[str, int],
    said: str,
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(programs.folder))
    monkeypatch.setattr(_files, "measure", partial(_files.measure, processes=1, samples=5))
    monkeypatch.setattr(_android, "_RUN_S", 20.0)
    monkeypatch.setattr(_android_visit, "_COOL_DOWN_S", 0.2)
    monkeypatch.setattr(_android_visit, "_POLL_S", 0.05)
    command = ("profile", MODEL, "--device", f"adb:{phone.address}")
    before = {name: phone.get(name) for name in state}
    phone.set("wakefulness", "Asleep")
    phone.faults = Faults(**fault)  # type: ignore[arg-type]  # each has its field's kind
    for name, value in state.items():
        phone.set(name, value)
    if phone.faults.unauthorized:
        connect(phone)

    assert run(*command, "--json") == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err

    phone.faults = Faults()
    for name, there in before.items():
        phone.set(name, there)
    connect(phone)
    assert run(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["main"]["path_kind"] == "shell"
    assert phone.get("wakefulness") == "Asleep"
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"
    left = [entry.name for entry in phone.path("/data/local/tmp/mobiledistill").iterdir()]
    assert left == ["files"]


def test_clean_leaves_nothing_of_ours_on_the_phone_and_says_how_much_it_was(
    phone: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    app = "/sdcard/Android/data/mobiledistill.benchmark/files"
    ours = {f"{STORE}/files/ab12/libLiteRt.so": 4000, f"{STORE}/run-1/a b.tflite": 300, f"{app}/run-2/m.onnx": 20}
    theirs = {"/data/local/tmp/other": 7, f"{app}/listening/student.tflite": 7}
    for path, size in (ours | theirs).items():
        phone.path(path).parent.mkdir(parents=True, exist_ok=True)
        phone.path(path).write_bytes(bytes(size))
    back = "settings put global stay_on_while_plugged_in 3"
    phone.path(f"{STORE}/put-back.sh").write_text(back)
    for removed in (4320 + len(back), 0):
        assert run("devices", "clean") == 0
        assert capsys.readouterr().out == f"{removed:,} bytes removed from adb:{phone.address}\n"
    assert not phone.path(STORE).exists()
    assert not phone.path(f"{app}/run-2").exists()
    assert all(phone.path(path).exists() for path in theirs)
    assert phone.get("setting.global.stay_on_while_plugged_in") == "3"


def test_only_phones_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("devices", "clean", "--device", "host") == 2
    assert "host keeps nothing of ours; give adb:SERIAL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("profile", MODEL, "--backend", "gpu"), "A backend was given for 'host', but only adb:SERIAL"),
        (("profile", MODEL, "--device", "adb", "--backend", "gpu"), "The backend 'gpu' needs the app"),
        (("profile", MODEL, "--device", "adb", "--app", "no.apk"), "no.apk does not exist; build it"),
        (("calibrate", "--device", "adb:1", "--backend", "npu"), "The backend 'npu' needs the app"),
        (("calibrate", "--app", MODEL), "An app was given for 'host'"),
        (("compress", "job.py", "--size", "9kB", "--app", MODEL), "An app was given for 'host'"),
        (("profile", MODEL, "--device", "adb", "--app", MODEL, "--backend", "tpu"), "There is no backend 'tpu'"),
        (("profile", MODEL, "--device", "adb", "--app", MODEL, "--tool", MODEL), "one of them measures: give one"),
        (
            ("demo", "speech", "--size", "9kB", "--device", "table:x.json", "--app", MODEL),
            "An app was given for 'table",
        ),
        (("doctor", "runs", "--app", MODEL), "--app needs the phone that it is for"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    words: tuple[object, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("raise RuntimeError('it was run')\n")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
