"""What has to hold before a device is measured, and what to do where it does not."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from mobiledistill.devices._adb import Adb
from mobiledistill.devices._android_state import battery, is_awake, status_name, thermal
from mobiledistill.devices._browser_runtimes import PREPARE, WEB_RUNTIMES, Runtimes

__all__ = ["Gate", "browser_gates", "host_gates", "phone_gates"]

_LEAST_BATTERY_PERCENT = 50
_SLOW_FROM = 1  # Android's thermal status "light": clocks go down


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: what it is about.
        seen: what was found.
        passed: whether it holds.
        advice: what to do where it does not.
        waits: whether a measurement waits for it, in place of refusing.
    """

    name: str
    seen: str
    passed: bool
    advice: str
    waits: bool = False


def phone_gates(adb: Adb) -> list[Gate]:
    """Of an Android phone, as it is now.

    Raises:
        DeviceError: it does not answer.
    """
    saver = adb.shell("settings", "get", "global", "low_power").out.strip() == "1"
    charge = battery(adb.shell("dumpsys", "battery").out)
    warm = thermal(adb.shell("dumpsys", "thermalservice", check=False).out)
    awake = is_awake(adb.shell("dumpsys", "power").out)
    level = charge.level_percent
    status = warm.status or 0
    degrees = "" if warm.hottest_c is None else f", {warm.hottest_c:g} °C"
    return [
        Gate(
            "battery",
            "unknown" if level is None else f"{level} %",
            level is None or level >= _LEAST_BATTERY_PERCENT,
            f"charge it to {_LEAST_BATTERY_PERCENT} % or more",
        ),
        Gate("battery saver", "on" if saver else "off", not saver, "turn it off: it slows the phone down"),
        Gate(
            "temperature",
            f"thermal status {status_name(status)}{degrees}",
            status < _SLOW_FROM,
            "take its case off and let it cool",
            waits=True,
        ),
        Gate(
            "screen",
            {True: "on", False: "off", None: "unknown"}[awake],
            awake is not False,
            "nothing: a measurement turns it on, and off again",
            waits=True,
        ),
    ]


def host_gates() -> list[Gate]:
    """Of this computer."""
    libraries = {"tflite": "ai_edge_litert", "onnx": "onnxruntime"}
    there = {extra: name for extra, name in libraries.items() if importlib.util.find_spec(name) is not None}
    told = ", ".join(there.get(extra, f"no {name}") for extra, name in libraries.items())
    found = [Gate("runtimes", told, bool(there), f"run pip install 'mobiledistill[{','.join(libraries)}]'")]
    if hasattr(os, "getloadavg") and hasattr(os, "sched_getaffinity"):
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
        told = f"{load:.1f} on {cores} core{'s' * (cores != 1)}"
        found.append(
            Gate("other work", told, load < cores, "stop what else computes: times would not count", waits=True)
        )
    return found


def browser_gates(runtimes: Runtimes) -> list[Gate]:
    """Of a browser, as far as this computer knows before one has come."""
    there = {fmt: runtimes.has(fmt) for fmt in WEB_RUNTIMES}
    told = ", ".join(
        f"{runtime.name} {runtime.version}" if there[fmt] else f"no {runtime.name}"
        for fmt, runtime in WEB_RUNTIMES.items()
    )
    return [Gate("runtimes", told, any(there.values()), f"run {PREPARE}")]
