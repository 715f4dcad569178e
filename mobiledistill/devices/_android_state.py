"""What a phone says of itself, as Android's own programs print it: pure functions from text to facts.

Every one takes any text. What is not told there is None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "Battery",
    "Core",
    "Thermal",
    "battery",
    "cores",
    "fastest",
    "is_awake",
    "properties",
    "status_name",
    "thermal",
]

_DEAD_C = 0.0  # a sensor that is not there
_SENSORS = {0: "CPU", 1: "GPU", 2: "battery", 3: "skin", 9: "NPU"}
_STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True)
class Core:
    """One core, and the highest clock it reaches."""

    number: int
    max_khz: int


@dataclass(frozen=True)
class Thermal:
    """How warm a phone is.

    Attributes:
        status: Android's own, 0 (none) to 6 (shutdown); from 1 on it slows down. None before Android 10.
        hottest_c: of the sensors that are read now; what is cached may be hours old.
    """

    status: int | None
    hottest_c: float | None


@dataclass(frozen=True)
class Battery:
    """How full and how warm the battery is."""

    level_percent: int | None
    temperature_c: float | None
    is_powered: bool | None


def status_name(status: int) -> str:
    """Android's word for a thermal status."""
    return _STATUSES[status] if status < len(_STATUSES) else str(status)


def properties(text: str) -> dict[str, str]:
    """Of ``getprop``: ``[ro.product.model]: [Pixel 8]``."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[([^\n]*)\]\r?$", text, re.MULTILINE))


def cores(text: str) -> tuple[Core, ...]:
    """Of lines with a core's number and its highest clock: ``7 2900000``."""
    found = re.findall(r"^(\d{1,4}) (\d{1,9})\r?$", text, re.MULTILINE)
    return tuple(sorted({int(number): Core(int(number), int(khz)) for number, khz in found}.values(), key=_number))


def fastest(of: Sequence[Core], threads: int) -> tuple[int, ...]:
    """The cores to run on: whole clusters of one clock, the fastest first, until every thread has a core."""
    chosen: list[int] = []
    for khz in sorted({core.max_khz for core in of}, reverse=True):
        if len(chosen) >= threads:
            break
        chosen += [core.number for core in of if core.max_khz == khz]
    return tuple(sorted(chosen))


def thermal(text: str) -> Thermal:
    """Of ``dumpsys thermalservice``."""
    status = re.search(r"^Thermal Status: (\d)", text, re.MULTILINE)
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    values = [
        float(value)
        for value, kind in re.findall(r"mValue=(-?\d{1,5}(?:\.\d{1,9})?), mType=(-?\d{1,3})\b", current)
        if int(kind) in _SENSORS and float(value) != _DEAD_C
    ]
    return Thermal(int(status[1]) if status else None, max(values, default=None))


def battery(text: str) -> Battery:
    """Of ``dumpsys battery``."""
    level = re.search(r"^\s*level: (\d{1,3})\r?$", text, re.MULTILINE)
    tenths = re.search(r"^\s*temperature: (-?\d{1,5})\r?$", text, re.MULTILINE)
    powered = re.findall(r"^\s*\w+ powered: (true|false)\r?$", text, re.MULTILINE)
    return Battery(
        int(level[1]) if level else None,
        int(tenths[1]) / 10 if tenths else None,
        "true" in powered if powered else None,
    )


def is_awake(text: str) -> bool | None:
    """Of ``dumpsys power``."""
    found = re.search(r"mWakefulness=(\w+)", text)
    return None if found is None else found[1] == "Awake"


def _number(core: Core) -> int:
    return core.number
