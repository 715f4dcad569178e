"""From what a user writes to a device."""

from __future__ import annotations

from pathlib import Path

from converters import DeviceError, InputError
from mobiledistill.devices._adb import connected
from mobiledistill.devices._android import Android
from mobiledistill.devices._android_app import check_app
from mobiledistill.devices._base import Device
from mobiledistill.devices._browser import Browser
from mobiledistill.devices._gates import Gate, host_gates
from mobiledistill.devices._host import Host
from mobiledistill.devices._hosted import Hosted
from mobiledistill.devices._ios import IPhone

__all__ = ["examine", "open"]


def open(
    spec: str = "host",
    *,
    upload: bool = False,
    tool: Path | None = None,
    app: Path | None = None,
    backend: str | None = None,
) -> Device:
    """Opens a device by its name.

    Example:
        >>> open("host").formats
        ('tflite', 'onnx')

    Args:
        spec: ``"host"``, this machine; ``"adb:SERIAL"``, an Android phone, or ``"adb"``, the only one there is;
            ``"ios:UDID"``, an iPhone; ``"browser"``, a page that a browser of this computer or of a phone
            opens, and ``"browser:lan"``, one that the local network reaches; ``"aihub:Samsung Galaxy S23"``, a phone
            that Qualcomm AI Hub hosts; ``"table:host.json"``, a latency table that ``calibrate`` made.
        upload: whether models may be sent to a service; only hosted phones need it.
        tool: on an Android phone, a benchmark program of yours that measures in place of ours; see ``Android``.
        app: on an Android phone, the APK that you built from ``demo_apps/android``, which then measures.
        backend: what is to compute: in the app, or in a browser (``"wasm"``, ``"webgpu"``); None: the processor.

    Raises:
        InputError: there is no such device; the message lists those there are. Or what only some take is given for
            another one, or does not go together.
        DeviceError: ``"adb"`` finds no phone, or several.
    """
    kind, _, which = spec.partition(":")
    for what, given in (("A tool", tool), ("An app", app)):
        if given is not None and kind != "adb":
            raise InputError(f"{what} was given for {spec!r}, but only adb:SERIAL, an Android phone, takes one.")
    if backend is not None and kind not in ("adb", "browser"):
        raise InputError(
            f"A backend was given for {spec!r}, but only adb:SERIAL, an Android phone, and browser take one."
        )
    if kind == "adb":
        check_app(app, tool, backend)
    if tool is not None and not tool.is_file():
        raise InputError(f"{tool} does not exist; give a benchmark_model or onnxruntime_perf_test for that phone.")
    if spec == Host.name:
        return Host()
    if kind == "table":
        from mobiledistill.devices._table import LatencyTable, TableDevice

        return TableDevice(LatencyTable.load(which), spec)
    if kind == "adb":
        return Android(which or _only_phone(), tool=tool, app=app, backend=backend)
    if spec in ("browser", "browser:lan"):
        return Browser(lan=spec == "browser:lan", backend=backend or "wasm")
    if kind == "aihub":
        return Hosted(which, upload=upload)
    if kind == "ios":
        return IPhone(which)
    raise InputError(
        f"There is no device {spec!r}; this version measures on 'host', this machine, on 'adb:SERIAL', an Android"
        " phone, 'ios:UDID', an iPhone, 'browser' or 'browser:lan', and 'aihub:PHONE', a hosted phone, and predicts by"
        " 'table:FILE'."
    )


def examine(spec: str = "host", *, app: Path | None = None) -> list[Gate]:
    """What a device needs to measure, what was found of it, and what to do where it does not hold.

    Args:
        spec: as ``open`` takes it.
        app: likewise; then what the app needs is looked at in place of what our program needs.

    Raises:
        InputError, DeviceError: as ``open``; or the phone does not answer.
    """
    opened = open(spec, app=app)
    if isinstance(opened, Android | Browser | Hosted | IPhone):
        return opened.examine()
    if isinstance(opened, Host):
        return host_gates()
    raise InputError(f"{spec} measures nothing, so there is nothing to look at; give a device that does.")


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
