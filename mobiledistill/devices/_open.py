"""From what a user writes to a device."""

from __future__ import annotations

from converters import DeviceError, InputError
from mobiledistill.devices._adb import connected
from mobiledistill.devices._android import Android
from mobiledistill.devices._base import Device
from mobiledistill.devices._browser import Browser
from mobiledistill.devices._gates import Gate, host_gates
from mobiledistill.devices._host import Host

__all__ = ["examine", "open"]

_LATER = ("ios", "aihub")


def open(spec: str = "host") -> Device:
    """Opens a device by its name.

    Example:
        >>> open("host").formats
        ('tflite', 'onnx')

    Args:
        spec: ``"host"``, this machine; ``"adb:SERIAL"``, an Android phone, or ``"adb"``, the only one there is;
            ``"browser"``, a page that a browser of this computer or of a phone opens, and ``"browser:lan"``, one that
            the local network reaches; ``"table:host.json"``, a latency table that ``calibrate`` made.

    Raises:
        InputError: there is no such device; the message lists those there are.
        DeviceError: ``"adb"`` finds no phone, or several.
    """
    if spec == Host.name:
        return Host()
    if spec.startswith("table:"):
        from mobiledistill.devices._table import LatencyTable, TableDevice

        return TableDevice(LatencyTable.load(spec.partition(":")[2]), spec)
    kind, _, which = spec.partition(":")
    if kind == "adb":
        return Android(which or _only_phone())
    if spec in ("browser", "browser:lan"):
        return Browser(lan=spec == "browser:lan")
    if kind in _LATER:
        raise InputError(
            f"The device {spec!r} is not in this version; it measures on 'host', 'adb:SERIAL' and 'browser'."
        )
    raise InputError(
        f"There is no device {spec!r}; this version measures on 'host', this machine, on 'adb:SERIAL', an Android"
        " phone, and on 'browser' or 'browser:lan', and predicts by 'table:FILE'."
    )


def examine(spec: str = "host") -> list[Gate]:
    """What a device needs to measure, what was found of it, and what to do where it does not hold.

    Raises:
        InputError, DeviceError: as ``open``; or the phone does not answer.
    """
    opened = open(spec)
    if isinstance(opened, Android | Browser):
        return opened.examine()
    if isinstance(opened, Host):
        return host_gates()
    raise InputError(f"{spec} measures nothing, so there is nothing to look at; give host, adb:SERIAL or browser.")


def _only_phone() -> str:
    found = connected()
    ready = [phone.serial for phone in found if phone.state == "device"]
    if len(ready) == 1:
        return ready[0]
    if ready:
        raise DeviceError(f"Several phones are connected: choose one of {', '.join(f'adb:{one}' for one in ready)}.")
    if found:
        told = ", ".join(f"{phone.serial} ({phone.state})" for phone in found)
        raise DeviceError(f"No phone can be used: {told}. Unlock it and answer the question on its screen.")
    raise DeviceError("No phone is connected: plug one in, allow USB debugging, and see what adb devices says.")
