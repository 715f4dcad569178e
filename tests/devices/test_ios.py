"""iPhones, through stand-ins for the two tools that reach them; there is no phone behind either.

Every test that takes ``phone`` holds for both tools: this is the contract of ``IPhoneTool``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import DeviceError, InputError, Program, convert, load
from mobiledistill import devices
from mobiledistill.devices import IPhone, Measurement, _phone_lock
from tests.converters._networks import example_input, float_net

UDID = "00008130-001A2B3C4D5E6F70"
INPUTS = {"features": example_input().numpy()}
IPHONE = Path(__file__).parent / "iphone"
STAND_IN = IPHONE / "pymobiledevice3" / "pymobiledevice3"
REAL = shutil.which("pymobiledevice3")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "net.mlpackage"
    return convert(Program(float_net(8), {"features": example_input()}, ("logits",)), path)


class Phone:
    """The phone's state, and what it was told, whichever tool reaches it."""

    tool: str
    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "Documents").mkdir()
        self._state: dict[str, Any] = {"fail": {}, "result": {}, "unit": {}, "outputs": {}}
        self.describe()

    def set(self, **state: Any) -> None:
        self._state |= state
        (self.folder / "state.json").write_text(json.dumps(self._state))

    def describe(self, *, developer: bool = True, reachable: bool = True, ios: str = "18.1") -> None:
        """What the tool tells of it."""
        raise NotImplementedError

    def answers_with(self, outputs: dict[str, np.ndarray]) -> None:
        self.set(outputs={n: {"shape": list(v.shape), "values": v.ravel().tolist()} for n, v in outputs.items()})

    @property
    def config(self) -> dict[str, Any]:
        """The last one that the app took."""
        return dict(json.loads((self.folder / "config.json").read_text()))

    @property
    def calls(self) -> list[tuple[str, list[str]]]:
        """What was asked, in one word, and with which words."""
        lines = (self.folder / "calls.txt").read_text().splitlines()
        return [(verb, words) for verb, *words in map(json.loads, lines)]

    def count(self, verb: str) -> int:
        return sum(called == verb for called, _ in self.calls)


class OfDevicectl(Phone):
    tool = "devicectl"
    name = "iPhone 15 Pro"

    def describe(self, *, developer: bool = True, reachable: bool = True, ios: str = "18.1", **hardware: str) -> None:
        known = {"udid": UDID, "deviceType": "iPhone", "productType": "iPhone16,1", "marketingName": self.name}
        phone = {
            "identifier": "7B6B-ID",
            "hardwareProperties": known | hardware,
            "deviceProperties": {
                "name": "Mine",
                "osVersionNumber": ios,
                "osBuildUpdate": "22B83",
                "developerModeStatus": "enabled" if developer else "disabled",
            },
            "connectionProperties": {"tunnelState": "connected" if reachable else "unavailable"},
        }
        watch = {"identifier": "W", "hardwareProperties": {"udid": "watch", "deviceType": "appleWatch"}}
        self.set(devices=[phone, watch])


class OfPyMobileDevice3(Phone):
    tool = "pymobiledevice3"
    name = "iPhone16,1"

    def describe(self, *, developer: bool = True, reachable: bool = True, ios: str = "18.1") -> None:
        cable = {
            "BuildVersion": "22B83",
            "ConnectionType": "USB",
            "DeviceClass": "iPhone",
            "DeviceName": "Mine",
            "Identifier": UDID,
            "ProductType": "iPhone16,1",
            "ProductVersion": ios,
            "UniqueDeviceID": UDID,
        }
        watch = {"DeviceClass": "Watch", "Identifier": "W", "UniqueDeviceID": "watch"}
        fail = {} if reachable else {"developer mode": "Waiting for the user to answer the Trust dialog on the device."}
        self.set(devices=[cable, watch, cable | {"ConnectionType": "Network"}], developer_mode=developer, fail=fail)


@pytest.fixture(params=[OfDevicectl, OfPyMobileDevice3], ids=lambda kind: kind.tool)
def phone(request: pytest.FixtureRequest, tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    return plugged_in(request.param, tmp_path, package, monkeypatch)


@pytest.fixture
def mac(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    return plugged_in(OfDevicectl, tmp_path, package, monkeypatch)


@pytest.fixture
def rig(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    return plugged_in(OfPyMobileDevice3, tmp_path, package, monkeypatch)


def plugged_in(kind: type[Phone], folder: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.setenv("PATH", f"{IPHONE / kind.tool}:/usr/bin:/bin")
    monkeypatch.setenv("IPHONE", str(folder))
    made = kind(folder)
    made.answers_with(load(package).run(INPUTS))
    return made


def measured(package: Path) -> Measurement:
    found = devices.open(f"ios:{UDID}").measure(package, "coreml", INPUTS, processes=2, samples=30)
    assert found is not None
    return found


def test_a_package_is_copied_run_and_its_answers_are_checked(phone: Phone, package: Path) -> None:
    found = measured(package)
    there = phone.folder / "Documents" / "model.mlpackage"
    names = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    assert names
    assert all((there / name).read_bytes() == (package / name).read_bytes() for name in names)
    config = phone.config
    assert config["compute_units"] == ["all"]
    assert np.allclose(np.reshape(config["inputs"]["features"]["values"], (1, 1, 40, 101)), INPUTS["features"])
    assert (found.verdict, found.path_kind) == ("valid", "app")
    assert [len(process) for process in found.samples_ms] == [30, 30]
    assert (found.p50_ms, found.load_cold_ms, found.load_warm_ms, found.first_run_ms) == (1.01, 900, 12, 3)
    assert (found.device.name, found.device.os) == (phone.name, "iOS 18.1 (22B83)")
    assert (found.backend.asked, found.backend.obtained) == ("all", "planned: NeuralEngine 7, CPU 2")
    assert found.telemetry_after.thermal_status == 1
    assert found.telemetry_after.battery_percent == 80
    assert found.outputs is not None
    assert found.outputs.sqnr_db > 100
    assert phone.count("launch") == 2
    assert all("--console" in words for verb, words in phone.calls if verb == "launch")  # so it waits for the end


def test_the_app_is_asked_as_the_golden_file_shows(phone: Phone, package: Path) -> None:
    measured(package)
    golden = json.loads((IPHONE / "golden" / "config.json").read_text())
    assert {key: type(value) for key, value in phone.config.items()} == {k: type(v) for k, v in golden.items()}
    assert phone.config["inputs"]["features"].keys() == golden["inputs"]["features"].keys()


def test_every_unit_is_a_measurement_of_its_own(phone: Phone, package: Path) -> None:
    found = IPhone(UDID).measure_units(package, INPUTS, processes=1, samples=30)
    assert {unit: one.p50_ms for unit, one in found.items()} == pytest.approx(
        {"all": 1.01, "cpuAndNeuralEngine": 1.11, "cpuAndGPU": 2.01, "cpuOnly": 4.01}
    )


@pytest.mark.parametrize(
    ("state", "verdict", "why"),
    [
        ({"result": {"low_power": True}}, "invalid", "low power"),
        ({"unit": {"thermal_after": "serious"}}, "throttled", "thermal state serious"),
        ({"unit": {"samples_ms": [1 + 0.02 * index for index in range(30)]}}, "invalid", "drifted"),
    ],
)
def test_conditions_decide_what_counts(
    phone: Phone, package: Path, state: dict[str, Any], verdict: str, why: str
) -> None:
    phone.set(**state)
    found = IPhone(UDID).measure(package, "coreml", INPUTS, processes=1, samples=30)
    assert found is not None
    assert found.verdict == verdict
    assert why in found.reasons[0]


def test_wrong_answers_make_a_time_worthless(phone: Phone, package: Path) -> None:
    phone.answers_with({name: value[:, ::-1] for name, value in load(package).run(INPUTS).items()})
    found = measured(package)
    assert found.verdict == "invalid"
    assert found.outputs is not None
    assert not found.outputs.same


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"developer": False}, "Developer Mode off; turn it on"),
        ({"reachable": False}, "connection no; plug it in, unlock it, and trust"),
        ({"ios": "16.7"}, "update it to iOS 17"),
    ],
)
def test_a_phone_that_cannot_measure_is_refused(phone: Phone, package: Path, about: dict[str, Any], why: str) -> None:
    phone.describe(**about)
    with pytest.raises(DeviceError, match=why):
        measured(package)
    assert {verb for verb, _ in phone.calls} <= {"list", "developer mode"}
    assert not all(gate.passed for gate in devices.examine(f"ios:{UDID}"))


def test_a_simulator_is_refused(mac: Phone, package: Path) -> None:
    mac.describe(reality="virtual")  # type: ignore[call-arg]  # only a Mac has them
    with pytest.raises(DeviceError, match="simulator's times mean nothing"):
        measured(package)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"fail": {"launch": "The application is not installed."}}, "failed: The application is not"),
        ({"fail": {"pull": "No such file."}}, r"result\.json from the phone failed: No such file"),
        ({"result": {"schema": 2}}, r"not of schema 1 \(schema"),
        ({"result": {"run": "an earlier one"}}, "ended without a result"),
        ({"result": {"simulator": True}}, "is a simulator"),
        ({"result": {"error": "Error compiling model"}}, "cannot run it: Error compiling model"),
        ({"result": {"units": []}}, "no times of all"),
        ({"unit": {"samples_ms": "many"}}, r"not of schema 1 \(units.0.samples_ms"),
        ({"outputs": {"logits": {"shape": [1, 7], "values": [1.0]}}}, "broken output"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(phone: Phone, package: Path, state: dict[str, Any], why: str) -> None:
    phone.set(**state)
    with pytest.raises(DeviceError, match=why) as raised:
        measured(package)
    assert "\n" not in str(raised.value)


def test_phones_are_listed_with_what_to_do(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_AIHUB_PYTHON", "/no/such/python")
    name = f"ios:{UDID}"
    assert next(one for one in devices.available() if one.name == name).ready
    phone.describe(developer=False)
    found = next(one for one in devices.available() if one.name == name)
    assert not found.ready
    assert "turn it on in Settings" in found.why
    phone.set(fail={"list": "CoreDevice is broken."})
    assert any("listing devices failed: CoreDevice is broken" in one.why for one in devices.available())


def test_the_app_is_installed(phone: Phone, tmp_path: Path) -> None:
    app = tmp_path / "Harness.app"
    app.mkdir()
    IPhone(UDID).install(app)
    verb, words = phone.calls[-1]
    assert verb == "install"
    assert str(app) in words


def test_a_phone_that_is_not_there_is_told_which_are(phone: Phone, package: Path) -> None:
    with pytest.raises(DeviceError, match=rf"no iPhone ios:other; this computer knows ios:{UDID} \({phone.name}\)\."):
        IPhone("other").measure(package, "coreml", INPUTS)


def test_without_a_tool_there_is_no_way(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"use a Mac with Xcode 15 or newer, or install .*pipx install pymobile"):
        IPhone(UDID).measure(package, "coreml", INPUTS)
    assert not any(one.name.startswith("ios") for one in devices.available())


def test_a_mac_uses_what_apple_gives(mac: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{STAND_IN.parent}:{os.environ['PATH']}")
    assert devices.examine(f"ios:{UDID}")[0].seen.startswith("iPhone 15 Pro")


# -- pymobiledevice3 alone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "said", "advice"),
    [
        ("list", "Failed to connect to usbmuxd socket. Make sure it's running.", "apt install usbmuxd"),
        (
            "launch",
            "Unable to connect to tunneld. Start one with `sudo python3 -m pymobiledevice3 remote tunneld`.",
            "run sudo pymobiledevice3 remote tunneld in another terminal",
        ),
        ("launch", "Failed to start service. Possible reasons are:\n- one\n- another", "mounter auto-mount"),
        ("push", "No app with bundle ID org.mobiledistill.harness is installed.", "build demo_apps/ios"),
        ("push", "Device is password protected. Please unlock and retry.", "unlock the phone"),
        ("push", "Waiting for the user to answer the Trust dialog on the device.", "trust this computer on it"),
    ],
)
def test_what_it_says_comes_with_what_to_do(rig: Phone, package: Path, verb: str, said: str, advice: str) -> None:
    rig.set(fail={verb: said})
    with pytest.raises(DeviceError) as raised:
        measured(package)
    assert said.splitlines()[0].removesuffix(" Possible reasons are:").rstrip(".") in str(raised.value)
    assert advice in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_older_one_is_told_apart(rig: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = tmp_path / "pymobiledevice3"
    older.write_text(f'#!/bin/sh\nexec {STAND_IN} "$@" --no-such-option\n')
    older.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DeviceError, match=r"does not know usbmux list as .*11\.45.*pipx upgrade"):
        devices.examine(f"ios:{UDID}")


def test_one_that_says_no_json_is_told(rig: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "pymobiledevice3"
    other.write_text("#!/bin/sh\necho hello\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DeviceError, match="said 'hello"):
        devices.examine(f"ios:{UDID}")


def test_an_app_that_is_not_there_is_told(rig: Phone, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"there is no .*Harness\.ipa; give a signed"):
        IPhone(UDID).install(tmp_path / "Harness.ipa")


@pytest.mark.parametrize("program", [STAND_IN, *([Path(REAL)] if REAL else [])], ids=lambda path: path.parent.name)
def test_the_real_program_takes_our_words(rig: Phone, package: Path, tmp_path: Path, program: Path) -> None:
    """The stand-in always; the real one, which finds no usbmuxd here, where it is installed."""
    app = tmp_path / "Harness.app"
    app.mkdir()
    IPhone(UDID).install(app)
    IPhone(UDID).measure(package, "coreml", INPUTS, processes=1, samples=30)
    asked = {verb: words for verb, words in rig.calls}
    assert set(asked) == {"list", "developer mode", "install", "push", "launch", "pull"}
    nowhere = {**os.environ, "USBMUXD_SOCKET_ADDRESS": str(tmp_path / "none"), "PYMOBILEDEVICE3_UDID": UDID}
    for words in asked.values():
        done = subprocess.run([program, *words], env=nowhere, capture_output=True, text=True)
        assert done.returncode != 2, done.stderr
        assert program == STAND_IN or "usbmuxd" in done.stderr
        wrong = subprocess.run([program, *words, "--no-such-option"], env=nowhere, capture_output=True, text=True)
        assert wrong.returncode == 2


def test_a_phone_that_another_run_uses_is_left_alone(
    rig: Phone, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_phone_lock, "_WAIT_FOR_OTHERS_S", 0.1)
    with _phone_lock.phone_lock(UDID), pytest.raises(DeviceError, match="in use by another run"):
        IPhone(UDID).measure(package, "coreml", INPUTS, processes=1, samples=30)
    assert not {"push", "launch"} & {verb for verb, _ in rig.calls}


def test_arguments_that_do_not_fit_are_refused(package: Path) -> None:
    with pytest.raises(InputError, match="needs its UDID"):
        devices.open("ios:")
    with pytest.raises(InputError, match="unit must be one of all, cpuAndNeuralEngine"):
        IPhone(UDID, unit="npu")  # type: ignore[arg-type]  # what is no unit
    with pytest.raises(InputError, match="has the functions main"):
        IPhone(UDID).measure(package, "coreml", INPUTS, signature="other")
    assert IPhone(UDID).measure(package, "tflite") is None
