"""Which devices there are, and whether they can be used."""

from __future__ import annotations

from dataclasses import dataclass

from converters import DeviceError
from mobiledistill.devices._adb import connected
from mobiledistill.devices._aihub import PREPARE, interpreter
from mobiledistill.devices._android import Android
from mobiledistill.devices._browser import Browser
from mobiledistill.devices._gates import Gate, host_gates
from mobiledistill.devices._host import Host, cpu_name
from mobiledistill.devices._hosted import hosted_gates
from mobiledistill.devices._ios import gates_of
from mobiledistill.devices._ios_found import found_tool, has_tool

__all__ = ["Available", "available"]

_STATES = {
    "unauthorized": "unlock it and allow this computer on its screen",
    "offline": "unplug it, plug it in again, and unlock it",
    "no permissions": "let users reach it by USB: on Debian apt install android-sdk-platform-tools-common",
}


@dataclass(frozen=True)
class Available:
    """One device.

    Attributes:
        name: as ``open`` takes it; "adb" alone where the way to phones is missing altogether.
        about: what it is.
        ready: whether it can measure now.
        why: what stands in the way, and what to do; "" where nothing does.
    """

    name: str
    about: str
    ready: bool
    why: str = ""


def available() -> tuple[Available, ...]:
    """This computer, every phone that adb or a tool for iPhones knows of, the browser, and phones that a service hosts.

    Example:
        >>> available()[0].name
        'host'
    """
    return (_host(), *_phones(), *_iphones(), _browser(), _hosted())


def _host() -> Available:
    failed = _failed(host_gates())
    return Available(Host.name, cpu_name(), not failed, _told(failed))


def _phones() -> list[Available]:
    try:
        found = connected()
    except DeviceError as error:
        return [Available("adb", "Android phones", False, str(error))]
    if not found:
        return [Available("adb", "Android phones", False, "none is connected: plug one in and allow USB debugging")]
    listed = []
    for phone in found:
        name, about = f"adb:{phone.serial}", phone.model.replace("_", " ") or "an Android phone"
        if phone.state != "device":
            advice = _STATES.get(phone.state, "start Android on it")
            listed.append(Available(name, about, False, f"{phone.state}: {advice}"))
            continue
        try:
            failed = _failed(Android(phone.serial).examine())
        except DeviceError as error:
            listed.append(Available(name, about, False, str(error)))
            continue
        listed.append(Available(name, about, not failed, _told(failed)))
    return listed


def _browser() -> Available:
    failed = _failed(Browser().examine())
    return Available("browser", "any browser that opens our page", not failed, _told(failed))


def _iphones() -> list[Available]:
    if not has_tool():
        return []  # no Mac, and nobody asked for iPhones
    try:
        found = [(phone, _failed(gates_of(phone))) for phone in found_tool().phones()]
    except DeviceError as error:
        return [Available("ios", "iPhones", False, str(error))]
    return [Available(f"ios:{phone.udid}", phone.name, not failed, _told(failed)) for phone, failed in found]


def _hosted() -> Available:
    name, about = "aihub", "hosted phones"
    if not interpreter().is_file():
        return Available(name, about, False, f"run {PREPARE}")
    failed = _failed(hosted_gates())
    return Available(name, about, not failed, _told(failed))


def _failed(gates: list[Gate]) -> list[Gate]:
    return [gate for gate in gates if not gate.passed and not gate.waits]


def _told(failed: list[Gate]) -> str:
    return "; ".join(f"{gate.name} {gate.seen}: {gate.advice}" for gate in failed)
