"""``mobiledistill devices`` and ``doctor --device``, with the real adb and a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import mobiledistill.devices
from mobiledistill.cli import _files, main
from mobiledistill.devices import Programs, Runtimes
from tests.devices.browser import Chromium, Visitor
from tests.devices.phone import Phone

MODEL = Path(mobiledistill.devices.__file__).parent / "assets" / "reference.tflite"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("command", [("devices",), ("devices", "prepare"), ("doctor",)])
def test_help_shows_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    assert "Example: mobiledistill" in capsys.readouterr().out


def test_phones_are_listed_with_what_to_do(
    phone: Phone, programs: Programs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(programs.folder))
    assert run("devices", "--json") == 0
    host, found, _ = json.loads(capsys.readouterr().out)
    assert (host["name"], host["ready"]) == ("host", True)
    assert found == {"name": f"adb:{phone.address}", "about": "Fixture", "ready": True, "why": ""}
    phone.set("battery_level", 12)
    assert run("devices") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "battery 12 %: charge it" in shown


def test_a_phone_without_programs_is_told_how_to_make_them(
    phone: Phone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_ANDROID", str(tmp_path / "nothing"))
    assert run("devices", "--json") == 0
    _, found, _ = json.loads(capsys.readouterr().out)
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
    _, first, second, third, _ = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in (first, second, third)] == ["adb:1A2B3C", "adb:4D5E6F", "adb:7G8H9I"]
    assert "allow this computer" in first["why"]
    assert "plug it in again" in second["why"]
    assert "apt install" in third["why"]


def test_without_adb_the_list_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADB", "/no/such/adb")
    assert run("devices", "--json") == 0
    _, missing, _ = json.loads(capsys.readouterr().out)
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


def test_a_browser_is_listed_with_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_BROWSER", str(tmp_path))
    assert run("devices", "--json") == 0
    found = json.loads(capsys.readouterr().out)[-1]
    assert (found["name"], found["ready"]) == ("browser", False)
    assert "run mobiledistill devices prepare browser" in found["why"]
    assert run("doctor", "--device", "browser") == 4
    assert "onnxruntime-web" in capsys.readouterr().out  # the table may fold what stands around it
    assert run("profile", MODEL, "--device", "browser") == 4
    said = capsys.readouterr().err.strip()
    assert "mobiledistill devices prepare browser" in said
    assert "\n" not in said


def test_a_browser_with_its_runtimes_is_ready(
    web_runtimes: Runtimes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_BROWSER", str(web_runtimes.folder))
    assert run("doctor", "--device", "browser") == 0
    assert "onnxruntime-web 1." in " ".join(capsys.readouterr().out.split())


def test_a_phones_program_needs_a_compiler(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("devices", "prepare", "some.aar") == 2
    assert "--compiler" in capsys.readouterr().err


def profiled(runtimes: Runtimes) -> tuple[subprocess.Popen[str], str]:
    """A command that waits for a browser, and the address that it printed."""
    words = [sys.executable, "-m", "mobiledistill", "profile", str(MODEL), "--device", "browser", "--json"]
    environment = {**os.environ, "MOBILEDISTILL_BROWSER": str(runtimes.folder)}
    started = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert started.stderr is not None
    for line in started.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line):
            return started, found[0]
    pytest.fail("no address was printed")


def test_a_profile_in_a_browser_is_one_json_object(web_runtimes: Runtimes, chromium: Chromium) -> None:
    started, address = profiled(web_runtimes)
    chromium.open(address)
    said, _ = started.communicate(timeout=300)
    assert started.returncode == 0
    (found,) = json.loads(said).values()
    assert (found["path_kind"], found["runtime"]["name"]) == ("browser", "LiteRT.js")
    assert found["outputs"]["sqnr_db"] > 60
    assert found["browser"]["runs_per_sample"] >= 1


def test_a_browser_that_leaves_ends_the_command_with_4(web_runtimes: Runtimes) -> None:
    started, address = profiled(web_runtimes)
    page = Visitor(address)
    page.work()
    page.ask("gone", page.page.encode())
    said, complaint = started.communicate(timeout=60)
    assert (started.returncode, said) == (4, "")
    assert "its page was closed" in complaint.strip().splitlines()[-1]
