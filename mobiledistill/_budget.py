"""The wish: upper limits that the exported, measured files must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from converters import FORMATS, Format, InputError

__all__ = ["Budget", "Limit"]

PerFormat = float | Mapping[Format, float]


@dataclass(frozen=True)
class Limit:
    """One limit on one format, as a budget spells it out.

    Attributes:
        format: which file it binds; None for a limit on the student itself (``max_metric_drop``).
        name: the budget's field, for example ``"size_bytes"``.
        value: the upper limit, in the unit the name ends in.
    """

    format: Format | None
    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits the exported files must keep; ``None`` means no limit. 1 kB is 1000 bytes.

    Every limit but ``max_metric_drop`` holds for each format, or differs by format when a mapping is given.

    Example:
        >>> Budget(size_bytes=30_000, latency_ms=0.5)
        Budget(size_bytes=30000, latency_ms=0.5)
        >>> Budget.parse("30kB,0.5ms@p90").latency_percentile
        90.0
        >>> Budget(size_bytes={"tflite": 20_000, "coreml": 60_000}).limit("size_bytes", "coreml")
        60000

    Args:
        size_bytes: bytes of the file as written; for a folder (.mlpackage) the sum of its files.
        latency_ms: time of one use at batch 1 on the chosen device, in milliseconds.
        latency_share: that time as a share of what the teacher's own 32-bit file takes in the same format on the same
            device; 0.5 is twice as fast.
        peak_memory_bytes: memory that loading and running adds to the process, in bytes.
        download_bytes: bytes after the compression a store applies (zip).
        max_metric_drop: how many points of the task's metric, in its own unit, the student may lose against its
            teacher on the validation split.
        latency_percentile: which percentile of the latency the limit is on, 0 to 100; the median by default.
        threads: threads that the measured runtime may use.

    Raises:
        InputError: no limit is given, or a limit is zero, negative, NaN or infinite.
    """

    size_bytes: PerFormat | None = None
    latency_ms: PerFormat | None = None
    latency_share: PerFormat | None = None
    peak_memory_bytes: PerFormat | None = None
    download_bytes: PerFormat | None = None
    max_metric_drop: float | None = None
    latency_percentile: float = 50.0
    threads: int = 1

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in _LIMITS):
            raise InputError("A Budget needs at least one limit, for example Budget(size_bytes=30_000).")
        for name in _LIMITS:
            self._check(name, getattr(self, name))
        if not 0 < self.latency_percentile < 100:
            raise InputError(f"latency_percentile must lie between 0 and 100, but got {self.latency_percentile!r}.")
        if self.threads < 1:
            raise InputError(f"threads must be at least 1, but got {self.threads!r}.")

    def __repr__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return f"Budget({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __str__(self) -> str:
        """For people: ``60 kB, 0.3 ms``."""
        at = "" if self.latency_percentile == 50 else f" at p{self.latency_percentile:g}"
        said = [
            _said(self.size_bytes, 1000, "kB"),
            _said(self.latency_ms, 1, "ms" + at),
            _said(self.latency_share, 1, "of the teacher's latency" + at),
            _said(self.peak_memory_bytes, 1e6, "MB of memory"),
            _said(self.download_bytes, 1000, "kB to download"),
            _said(self.max_metric_drop, 1, "points lost"),
        ]
        return ", ".join(part for part in said if part)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads ``"30kB,0.5ms@p90"``: sizes (B, kB, MB), latencies (us, ms, s), commas between.

        Raises:
            InputError: a part is neither a size nor a latency.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            amount, _, percentile = part.strip().partition("@p")
            name = "latency_ms" if amount.lower().endswith(("us", "ms", "s")) else "size_bytes"
            if name in limits:
                raise InputError(f"The budget {text!r} holds two limits on {name}; give one.")
            limits[name] = parse_ms(amount) if name == "latency_ms" else parse_bytes(amount)
            if percentile:
                limits["latency_percentile"] = _number(percentile, part)
        return cls(**limits)  # type: ignore[arg-type]  # the keys are two literal field names

    def limit(self, name: str, format: Format) -> float | None:
        """The limit ``name`` on ``format``, None where there is none."""
        value = getattr(self, name)
        return value.get(format) if isinstance(value, Mapping) else value

    def limits(self, formats: tuple[Format, ...]) -> Iterator[Limit]:
        """Every limit on these formats, those on the student itself last."""
        for name in _FILE_LIMITS:
            for format in formats:
                value = self.limit(name, format)
                if value is not None:
                    yield Limit(format, name, value)
        if self.max_metric_drop is not None:
            yield Limit(None, "max_metric_drop", self.max_metric_drop)

    def _check(self, name: str, value: PerFormat | None) -> None:
        if isinstance(value, Mapping):
            for format, limit in value.items():
                if format not in FORMATS:
                    raise InputError(f"{name} names the format {format!r}; the formats are {', '.join(FORMATS)}.")
                self._check(f"{name}[{format!r}]", limit)
            return
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} must be a number, but got {value!r}.")
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} must be greater than 0 and finite, but got {value!r}.")


_FILE_LIMITS = ("size_bytes", "latency_ms", "latency_share", "peak_memory_bytes", "download_bytes")
_LIMITS = (*_FILE_LIMITS, "max_metric_drop")


def _said(limit: PerFormat | None, unit: float, name: str) -> str:
    if isinstance(limit, Mapping):
        return " and ".join(f"{value / unit:g} {name} ({format})" for format, value in limit.items())
    return "" if limit is None else f"{limit / unit:g} {name}"


def parse_bytes(text: str) -> int:
    """``"30kB"`` -> 30000. Raises InputError for what is no size."""
    return round(_amount(text, {"b": 1, "kb": 1_000, "mb": 1_000_000, "": 1}, "a size such as 30kB or 1.5MB"))


def parse_ms(text: str) -> float:
    """``"500us"`` -> 0.5. Raises InputError for what is no duration."""
    return _amount(text, {"us": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}, "a duration such as 0.5ms or 300us")


def _amount(text: str, units: Mapping[str, float], expected: str) -> float:
    match = re.fullmatch(r"([+-]?[0-9.]+(?:e[+-]?\d+)?)\s*([a-zA-Z]*)", text.strip())
    if match is None or match[2].lower() not in units:
        raise InputError(f"{text!r} is not {expected}.")
    amount = _number(match[1], text) * units[match[2].lower()]
    if not (amount > 0 and math.isfinite(amount)):
        raise InputError(f"{text!r} is not above 0 and finite; give {expected}.")
    return amount


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{whole!r} holds no number; write for example 30kB, 0.5ms or 0.5ms@p90.") from None
