"""iPhones, through a stand-in for ``xcrun devicectl`` that answers in Apple's JSON; there is no phone behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import DeviceError, InputError, Program, convert, load
from mobiledistill import devices
from mobiledistill.devices import IPhone, Measurement
from tests.converters._networks import example_input, float_net

UDID = "00008130-001A2B3C4D5E6F70"
INPUTS = {"features": example_input().numpy()}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "net.mlpackage"
    return convert(Program(float_net(8), {"features": example_input()}, ("logits",)), path)


class Fixture:
    """The phone's state, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "Documents").mkdir()
        self._state: dict[str, Any] = {"fail": {}, "result": {}, "unit": {}, "outputs": {}}
        self.describe()

    def set(self, **state: Any) -> None:
        self._state |= state
        (self.folder / "state.json").write_text(json.dumps(self._state))

    def describe(self, *, developer: str = "enabled", tunnel: str = "connected", **hardware: str) -> None:
        known = {"udid": UDID, "deviceType": "iPhone", "productType": "iPhone16,1", "marketingName": "iPhone 15 Pro"}
        phone = {
            "identifier": "7B6B-ID",
            "hardwareProperties": known | hardware,
            "deviceProperties": {
                "name": "Mine",
                "osVersionNumber": "18.1",
                "osBuildUpdate": "22B83",
                "developerModeStatus": developer,
            },
            "connectionProperties": {"tunnelState": tunnel},
        }
        watch = {"identifier": "W", "hardwareProperties": {"udid": "watch", "deviceType": "appleWatch"}}
        self.set(devices=[phone, watch])

    def answers_with(self, outputs: dict[str, np.ndarray]) -> None:
        self.set(outputs={n: {"shape": list(v.shape), "values": v.ravel().tolist()} for n, v in outputs.items()})

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls.txt").read_text().splitlines()


@pytest.fixture
def phone(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    monkeypatch.setenv("PATH", f"{Path(__file__).parent / 'iphone'}:/usr/bin:/bin")
    monkeypatch.setenv("IPHONE", str(tmp_path))
    fixture = Fixture(tmp_path)
    fixture.answers_with(load(package).run(INPUTS))
    return fixture


def measured(package: Path) -> Measurement:
    found = devices.open(f"ios:{UDID}").measure(package, "coreml", INPUTS, processes=2, samples=30)
    assert found is not None
    return found


def test_a_package_is_copied_run_and_its_answers_are_checked(phone: Fixture, package: Path) -> None:
    found = measured(package)
    there = phone.folder / "Documents" / "model.mlpackage"
    names = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    assert names
    assert all((there / name).read_bytes() == (package / name).read_bytes() for name in names)
    config = json.loads((phone.folder / "Documents" / "config.json").read_text())
    assert config["compute_units"] == ["all"]
    assert np.allclose(np.reshape(config["inputs"]["features"]["values"], (1, 1, 40, 101)), INPUTS["features"])
    assert (found.verdict, found.path_kind) == ("valid", "app")
    assert [len(process) for process in found.samples_ms] == [30, 30]
    assert (found.p50_ms, found.load_cold_ms, found.load_warm_ms, found.first_run_ms) == (1.01, 900, 12, 3)
    assert (found.device.name, found.device.os) == ("iPhone 15 Pro", "iOS 18.1 (22B83)")
    assert (found.backend.asked, found.backend.obtained) == ("all", "planned: NeuralEngine 7, CPU 2")
    assert found.telemetry_after.thermal_status == 1
    assert found.telemetry_after.battery_percent == 80
    assert found.outputs is not None
    assert found.outputs.sqnr_db > 100
    assert sum(call.startswith("device process launch --console") for call in phone.calls) == 2


def test_every_unit_is_a_measurement_of_its_own(phone: Fixture, package: Path) -> None:
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
    phone: Fixture, package: Path, state: dict[str, Any], verdict: str, why: str
) -> None:
    phone.set(**state)
    found = IPhone(UDID).measure(package, "coreml", INPUTS, processes=1, samples=30)
    assert found is not None
    assert found.verdict == verdict
    assert why in found.reasons[0]


def test_wrong_answers_make_a_time_worthless(phone: Fixture, package: Path) -> None:
    phone.answers_with({name: value[:, ::-1] for name, value in load(package).run(INPUTS).items()})
    found = measured(package)
    assert found.verdict == "invalid"
    assert found.outputs is not None
    assert not found.outputs.same


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"reality": "virtual"}, "simulator"),
        ({"developer": "disabled"}, "Developer Mode off; turn it on"),
        ({"tunnel": "unavailable"}, "plug it in"),
    ],
)
def test_a_phone_that_cannot_measure_is_refused(phone: Fixture, package: Path, about: dict[str, str], why: str) -> None:
    phone.describe(**about)
    with pytest.raises(DeviceError, match=why):
        measured(package)
    assert all(call.startswith("list devices") for call in phone.calls)
    assert not all(gate.passed for gate in devices.examine(f"ios:{UDID}"))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"fail": {"device process launch": "The application is not installed."}}, "failed: The application is not"),
        ({"fail": {"device copy from": "No such file."}}, r"result\.json from the phone failed: No such file"),
        ({"result": {"run": "an earlier one"}}, "ended without a result"),
        ({"result": {"simulator": True}}, "is a simulator"),
        ({"result": {"error": "Error compiling model"}}, "cannot run it: Error compiling model"),
        ({"result": {"units": []}}, "no times of all"),
        ({"unit": {"samples_ms": "many"}}, r"not of schema 1 \(units.0.samples_ms"),
        ({"outputs": {"logits": {"shape": [1, 7], "values": [1.0]}}}, "broken output"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(phone: Fixture, package: Path, state: dict[str, Any], why: str) -> None:
    phone.set(**state)
    with pytest.raises(DeviceError, match=why) as raised:
        measured(package)
    assert "\n" not in str(raised.value)


def test_phones_are_listed_with_what_to_do(phone: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_AIHUB_PYTHON", "/no/such/python")
    name = f"ios:{UDID}"
    assert next(one for one in devices.available() if one.name == name).ready
    phone.describe(developer="disabled")
    found = next(one for one in devices.available() if one.name == name)
    assert not found.ready
    assert "turn it on in Settings" in found.why
    phone.set(fail={"list devices --json-output": "CoreDevice is broken."})
    assert any("listing devices failed: CoreDevice is broken" in one.why for one in devices.available())


def test_the_app_is_installed(phone: Fixture, tmp_path: Path) -> None:
    IPhone(UDID).install(tmp_path / "Harness.app")
    assert phone.calls[-1].startswith("device install app")


def test_a_phone_that_is_not_there_is_told_which_are(phone: Fixture, package: Path) -> None:
    with pytest.raises(DeviceError, match=rf"no iPhone ios:other; this Mac knows ios:{UDID} \(iPhone 15 Pro\)\."):
        IPhone("other").measure(package, "coreml", INPUTS)


def test_without_a_mac_there_is_no_way(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="use a Mac with Xcode 15"):
        IPhone(UDID).measure(package, "coreml", INPUTS)


def test_arguments_that_do_not_fit_are_refused(package: Path) -> None:
    with pytest.raises(InputError, match="needs its UDID"):
        devices.open("ios:")
    with pytest.raises(InputError, match="unit must be one of all, cpuAndNeuralEngine"):
        IPhone(UDID, unit="npu")  # type: ignore[arg-type]  # what is no unit
    with pytest.raises(InputError, match="has the functions main"):
        IPhone(UDID).measure(package, "coreml", INPUTS, signature="other")
    assert IPhone(UDID).measure(package, "tflite") is None
