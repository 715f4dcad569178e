"""Phones, by the real adb, in an emulated aarch64 processor: whole runs, what can go wrong, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import DeviceError, Format, InputError, Program, convert
from mobiledistill.devices import Measurement, Subject, _android, _android_visit, _phone_lock, _runs
from mobiledistill.devices import open as open_device
from mobiledistill.devices._android import Android
from mobiledistill.devices._android_programs import Programs
from tests.devices.phone import Phone
from tests.devices.phone._fixtures import connect, plugged_in

STORE = "/data/local/tmp/mobiledistill"


@pytest.fixture(autouse=True)
def _emulation_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
    monkeypatch.setattr(_runs, "_PREEMPTED_PER_RUN", 1e9)
    monkeypatch.setattr(_android_visit, "_POLL_S", 0.05)


@pytest.fixture
def android(phone: Phone, programs: Programs) -> Android:
    return Android(phone.address, programs=programs)


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network in 8-bit integers, in both formats."""
    import torch
    from torch import nn

    from mobiledistill.quantize import post_training

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip
    (program, *_) = post_training(
        Program(net, {"x": torch.randn(1, 1, 40, 101)}, ("y",)), {"x": torch.randn(32, 1, 40, 101)}
    )
    folder = tmp_path_factory.mktemp("students")
    return {fmt: convert(program, folder / f"student.{fmt}") for fmt in ("tflite", "onnx")}


def left_behind(phone: Phone) -> list[str]:
    """What lies on the phone and belongs to a run."""
    root = phone.path(STORE)
    return sorted(entry.name for entry in root.iterdir() if entry.name != "files") if root.is_dir() else []


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_an_int8_student_is_timed_and_answers_as_on_this_computer(
    phone: Phone, android: Android, students: dict[str, Path], fmt: Format
) -> None:
    measured = android.measure(students[fmt], fmt, processes=2, samples=4)
    assert measured is not None
    assert (measured.verdict, measured.path_kind) == ("valid", "shell")
    assert measured.outputs is not None
    assert measured.outputs.same
    assert measured.outputs.sqnr_db > 40
    assert [len(process) for process in measured.samples_ms] == [4, 4]
    assert measured.device.name == "Mobiledistill Fixture"
    assert "Android 14" in measured.device.os
    assert measured.runtime.version == {"tflite": "2.3.0", "onnx": "1.32.0"}[fmt]
    assert measured.telemetry_after.battery_percent == 87
    assert measured.peak_memory_bytes is not None
    assert measured.peak_memory_bytes > 100_000
    assert measured.reference is not None
    assert Measurement.from_json(measured.to_json()) == measured
    assert left_behind(phone) == []
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"
    assert android.clean() > 1_000_000
    assert not phone.path(STORE).exists()


def test_wrong_answers_make_a_measurement_invalid(
    adb_server: None, tmp_path: Path, qemu: Callable[[str], list[str]], programs: Programs, students: dict[str, Path]
) -> None:
    with Phone(tmp_path / "phone", qemu=qemu("max")) as phone, plugged_in(phone):  # known to get int8 wrong
        measured = Android(phone.address, programs=programs).measure(
            students["tflite"], "tflite", processes=1, samples=2
        )
    assert measured is not None
    assert measured.verdict == "invalid"
    assert measured.reasons[0].startswith("its answers are not this computer's")
    assert measured.meets(1e9) == "open"


def test_what_is_there_is_not_copied_again(phone: Phone, android: Android, students: dict[str, Path]) -> None:
    for _ in range(2):
        before = phone.pushed_bytes
        android.measure(students["tflite"], "tflite", processes=1, samples=1)
    assert phone.pushed_bytes - before < 50_000  # the student and its inputs


def test_a_phone_that_another_run_uses_is_left_alone(
    phone: Phone, android: Android, tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_phone_lock, "_WAIT_FOR_OTHERS_S", 0.1)
    with _phone_lock.phone_lock(phone.address), pytest.raises(DeviceError, match="in use by another run"):
        android.measure(tflite, "tflite", processes=1, samples=3)
    assert not phone.path("/data/local/tmp/mobiledistill").exists()


def test_several_files_take_turns(phone: Phone, android: Android, students: dict[str, Path], tflite: Path) -> None:
    subjects = [Subject(students["tflite"], "tflite"), Subject(tflite, "tflite")]
    small, large = android.measure_interleaved(subjects, processes=1, samples=2, memory=False)
    assert (small.file, large.file) == ("student.tflite", "reference.tflite")
    assert small.reference == large.reference
    assert small.peak_memory_bytes is None
    with pytest.raises(InputError, match="one format"):
        android.measure_interleaved([*subjects, Subject(students["onnx"], "onnx")])


def test_the_screen_is_woken_and_sleeps_again(phone: Phone, android: Android, tflite: Path) -> None:
    phone.set("wakefulness", "Asleep")
    phone.set("setting.global.stay_on_while_plugged_in", 3)
    android.measure(tflite, "tflite", processes=1, samples=1)
    assert "input keyevent KEYCODE_WAKEUP" in phone.commands
    assert phone.get("wakefulness") == "Asleep"
    assert phone.get("setting.global.stay_on_while_plugged_in") == "3"


@pytest.mark.parametrize(
    ("state", "value", "message"),
    [
        ("setting.global.low_power", 1, "not ready: battery saver on; turn it off"),
        ("battery_level", 49, "not ready: battery 49 %; charge it to 50 %"),
        ("thermal_status", 2, "stays warm .thermal status moderate. after"),
    ],
)
def test_a_phone_that_is_not_ready_is_refused(
    phone: Phone, android: Android, tflite: Path, monkeypatch: pytest.MonkeyPatch, state: str, value: int, message: str
) -> None:
    monkeypatch.setattr(_android_visit, "_COOL_DOWN_S", 0.2)
    phone.set(state, value)
    with pytest.raises(DeviceError, match=message):
        android.measure(tflite, "tflite", processes=1, samples=1)
    assert left_behind(phone) == []
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"


def test_a_phone_that_got_warm_meanwhile_is_throttled(
    phone: Phone, android: Android, tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _android._Processes.latency

    def warming(self: _android._Processes) -> object:
        answer = real(self)
        phone.set("thermal_status", 1)
        return answer

    monkeypatch.setattr(_android._Processes, "latency", warming)
    measured = android.measure(tflite, "tflite", processes=1, samples=1)
    assert measured is not None
    assert (measured.verdict, measured.meets(1e9)) == ("throttled", "open")


def test_a_cable_pulled_in_a_copy_is_one_line_and_the_same_call_goes_on(
    phone: Phone, android: Android, tflite: Path
) -> None:
    phone.set("wakefulness", "Asleep")
    phone.faults.pulled_after_bytes = 3_000_000  # in the runtime's library, when the screen is on already
    with pytest.raises(DeviceError, match=r"check the cable|is offline: unplug it"):
        android.measure(tflite, "tflite", processes=1, samples=1)
    connect(phone)
    measured = android.measure(tflite, "tflite", processes=1, samples=1)
    assert measured is not None
    assert measured.verdict == "valid"
    assert left_behind(phone) == []
    assert phone.get("wakefulness") == "Asleep"  # as it was before the cable was pulled


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"exits": {"mdharness latency": 137}}, "status 137 .*memory"),
        ({"exits": {"mdharness latency": 132}}, "SIGILL"),
        ({"full_after_bytes": 1_000_000}, "has no room for libLiteRt.so"),
        ({"garbled": "cpuinfo_max_freq"}, None),
    ],
)
def test_every_fault_is_one_line_and_leaves_nothing(
    phone: Phone, android: Android, tflite: Path, fault: dict[str, object], message: str | None
) -> None:
    for name, value in fault.items():
        setattr(phone.faults, name, value)
    if message is None:
        assert android.measure(tflite, "tflite", processes=1, samples=1) is not None
    else:
        with pytest.raises(DeviceError, match=message) as raised:
            android.measure(tflite, "tflite", processes=1, samples=1)
        assert "\n" not in str(raised.value)
    assert left_behind(phone) == []
    assert phone.get("setting.global.stay_on_while_plugged_in") == "0"


def test_a_shell_that_hangs_is_given_up(
    phone: Phone, android: Android, tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_android, "_RUN_S", 1.0)
    phone.faults.hanging = "mdharness latency"
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        android.measure(tflite, "tflite", processes=1, samples=1)
    assert left_behind(phone) == []


def test_a_phone_that_nobody_allowed_says_so(adb_server: None, tmp_path: Path, tflite: Path) -> None:
    with Phone(tmp_path / "phone") as phone:
        phone.faults.unauthorized = True
        with (
            plugged_in(phone),
            pytest.raises(DeviceError, match=r"does not allow this computer yet|is not connected|is offline"),
        ):
            Android(phone.address).measure(tflite, "tflite")


def test_devices_are_opened_by_serial(phone: Phone, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_device(f"adb:{phone.address}").name == f"adb:{phone.address}"
    assert open_device("adb").name == f"adb:{phone.address}"


def test_programs_that_are_not_there_are_named(phone: Phone, tmp_path: Path, tflite: Path) -> None:
    with pytest.raises(DeviceError, match=r"no programs for this phone.*devices prepare"):
        Android(phone.address, programs=Programs(tmp_path)).measure(tflite, "tflite")
    assert json.dumps(left_behind(phone)) == "[]"
    assert np.isfinite(phone.pushed_bytes)
