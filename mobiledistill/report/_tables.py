"""Tables that set things side by side: teacher and student, file and file, the conditions of each measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mobiledistill.report import _numbers as numbers

__all__ = ["Row", "Table", "conditions_table", "files_table", "format_name", "limit_name", "teacher_table", "times"]

Data = dict[str, Any]

_FORMATS = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}
_LIMITS = {
    "size_bytes": "File size",
    "latency_ms": "Latency",
    "latency_share": "Share of the teacher's latency",
    "peak_memory_bytes": "Peak memory",
    "download_bytes": "Download",
}


@dataclass(frozen=True)
class Row:
    """A row: what it is about, its cells, and in small print what belongs to each cell."""

    name: str
    cells: Sequence[str]
    details: Sequence[str] = ()
    """One for each cell, or none at all."""


@dataclass(frozen=True)
class Table:
    """Columns with a heading each, and rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


def format_name(format: str) -> str:
    """``coreml`` -> ``Core ML``."""
    return _FORMATS.get(format, format)


def limit_name(name: str, metric: str) -> str:
    """``size_bytes`` -> ``File size``."""
    return f"Loss of {metric}" if name == "max_metric_drop" else _LIMITS.get(name, name)


def times(before: float | None, after: float | None, less: str, more: str) -> str:
    """``12.4 × smaller``, or the other word where there is more than before."""
    if not before or not after:
        return ""
    return f"{numbers.factor(before, after)} {less}" if before >= after else f"{numbers.factor(after, before)} {more}"


def teacher_table(data: Data) -> Table:
    """The teacher, the teacher stored as the student is, the student's first file, and what was gained."""
    teacher, unit = data["teacher"], data["score"]["unit"]
    stored = teacher["quantized"]
    format, file = next(iter(data["artifacts"].items()), ("", _NO_FILE | {"score": data["score"]}))
    reached = file["score"]
    latencies = [teacher["latency_ms"], stored["latency_ms"], file["latency_ms"]]
    sizes = [teacher["size_bytes"], stored["size_bytes"], file["size_bytes"]]
    weights = sum(after for _, _, after in data["layers"]) or None
    rows = [
        Row(
            f"{_capital(data['score']['metric'])}{_samples_of([teacher, file], 'score')}",
            [
                numbers.score(teacher["score"]["value"], unit),
                "",
                numbers.score(reached["value"], unit),
                _change(reached["value"] - teacher["score"]["value"], unit),
            ],
            [_score_range(teacher["score"], unit), "", _score_range(reached, unit), ""],
        ),
        Row(
            "Parameters",
            [
                numbers.count(teacher["parameters"]),
                "",
                numbers.count(weights),
                times(teacher["parameters"], weights, "fewer", "more"),
            ],
            ["", "", "without biases" if weights else "", ""],
        ),
        Row("File size", [*map(numbers.size, sizes), times(sizes[0], sizes[2], "smaller", "larger")]),
    ]
    if any(latencies):
        medians = [None if latency is None else use_of(latency)["p50"] for latency in latencies]
        rows.append(
            Row(
                "Latency, median",
                [*map(numbers.milliseconds, medians), times(medians[0], medians[2], "faster", "slower")],
                [*map(_latency_range, latencies), ""],
            )
        )
    columns = [
        "Teacher, 32-bit",
        f"Teacher, {data['plan']['bits']}-bit",
        f"Student, {format_name(format)}",
        "Change",
    ]
    table = Table(columns, rows)
    return table if sizes[0] != sizes[1] else _without_column(table, 1)


def files_table(data: Data) -> Table:
    """Every file: how large, how good, how fast (one use of all its signatures), how true to the student."""
    files, unit = list(data["artifacts"].values()), data["score"]["unit"]
    latencies = [file["latency_ms"] for file in files]
    parities = [file["parity"] for file in files]

    return Table(
        [format_name(format) for format in data["artifacts"]],
        [
            Row(
                "Size",
                [numbers.size(file["size_bytes"]) for file in files],
                [_bytes(file["size_bytes"]) for file in files],
            ),
            Row(
                "Download",
                [numbers.size(file["download_bytes"]) for file in files],
                [_bytes(file["download_bytes"]) for file in files],
            ),
            Row(
                f"{_capital(data['score']['metric'])}, test{_samples_of(files, 'score')}",
                [numbers.score(file["score"]["value"], unit) for file in files],
                [_score_range(file["score"], unit) for file in files],
            ),
            Row(
                f"{_capital(data['score']['metric'])}, validation{_samples_of(files, 'validation_score')}",
                [numbers.score(file["validation_score"]["value"], unit) for file in files],
                [_score_range(file["validation_score"], unit) for file in files],
            ),
            Row(
                "Latency, median",
                ["unmeasured" if one is None else numbers.milliseconds(use_of(one)["p50"]) for one in latencies],
                [_latency_range(one) for one in latencies],
            ),
            Row("Latency of one call, 90th percentile", [_ms(latency, "p90") for latency in latencies]),
            Row("Peak memory", [_measured(numbers.size, file["peak_memory_bytes"]) for file in files]),
            Row("Measurement", [str(file["verdict"]) for file in files]),
            Row(
                "Distance from the student",
                [_distance(one["sqnr_db"]) for one in parities],
            ),
            Row("Largest error", [_steps(one["max_steps"]) for one in parities]),
            Row("Same decision", [numbers.percent(one["agreement"]) for one in parities]),
            Row("The student's integers", [_INTEGERS[one["integers_equal"]] for one in parities]),
        ],
    )


def conditions_table(data: Data) -> Table:
    """What each file was measured on, and the state the device was in. Rows of which nothing is known are left out."""
    measured = {format: file["latency_ms"] for format, file in data["artifacts"].items() if file["latency_ms"]}
    rows = [Row(name, [tell(latency) for latency in measured.values()]) for name, tell in _CONDITIONS.items()]
    return Table([format_name(format) for format in measured], [row for row in rows if any(row.cells)])


# ------------------------------------------------------------------------------------------------------ cells

_NO_FILE: Data = {"size_bytes": None, "latency_ms": None}
_INTEGERS = {True: "all equal", False: "differ", None: "no integers"}


def _without_column(table: Table, column: int) -> Table:
    def rest(cells: Sequence[str]) -> list[str]:
        return [cell for number, cell in enumerate(cells) if number != column]

    return Table(rest(table.columns), [Row(row.name, rest(row.cells), rest(row.details)) for row in table.rows])


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _change(difference: float, unit: str) -> str:
    text = numbers.score(difference, numbers.points(unit), precision=2 if abs(difference) < 10 else 3)
    return f"+{text}" if difference > 0 else text


def _score_range(score: Data, unit: str) -> str:
    low, high = score["ci95"]
    return f"{numbers.score(low, '')} to {numbers.score(high, unit)}"


def _samples_of(scored: Sequence[Data], key: str) -> str:
    """``, 300 samples``; where the scores stand on unequal numbers, all of them."""
    found = dict.fromkeys(numbers.count(one[key]["n"]) for one in scored)
    return f" ({' or '.join(found)} samples)" if found else ""


def _bytes(value: float) -> str:
    return f"{numbers.count(value)} bytes"


def _ms(latency: Data | None, key: str) -> str:
    return "unmeasured" if latency is None else numbers.milliseconds(latency[key])


def use_of(latency: Data) -> Data:
    """Median and interval of one use of the product, which may call several signatures; older results lack it."""
    use: Data = latency.get("per_use") or latency
    return use


def _measured(tell: Callable[[float], str], value: float | None) -> str:
    return "unmeasured" if value is None else tell(value)


def _latency_range(latency: Data | None) -> str:
    if latency is None:
        return ""
    low, high = use_of(latency)["ci95"]
    return f"{numbers.significant(low)} to {numbers.milliseconds(high)}"


def _distance(sqnr_db: float) -> str:
    return "none" if sqnr_db == math.inf else f"{numbers.significant(sqnr_db)}{numbers.THIN}dB"


def _steps(steps: float | None) -> str:
    if steps is None:
        return "no grid"
    return f"{numbers.short(round(steps, 2))} output {'step' if steps == 1 else 'steps'}"


# ------------------------------------------------------------------------------------------------- conditions


def _samples(latency: Data) -> str:
    runs = numbers.count(latency["runs"])
    processes = len(latency.get("samples") or ())
    return f"{runs} in {processes} {'process' if processes == 1 else 'processes'}" if processes else runs


def _named(latency: Data, key: str, *parts: str) -> str:
    return ", ".join(str(value) for part in parts if (value := (latency.get(key) or {}).get(part)) not in (None, ""))


def _backend(latency: Data) -> str:
    backend = latency.get("backend") or {}
    asked, obtained = backend.get("asked"), backend.get("obtained")
    if asked is None:
        return ""
    return str(obtained) if asked == obtained else f"{obtained} (asked: {asked})"


def _telemetry(key: str, tell: Callable[[Any], str]) -> Callable[[Data], str]:
    """What was read before and after; a single value where both are alike."""

    def cell(latency: Data) -> str:
        states = [(latency.get(f"telemetry_{when}") or {}).get(key) for when in ("before", "after")]
        return " → ".join(dict.fromkeys(tell(state) for state in states if state is not None))

    return cell


def _drift(latency: Data) -> str:
    drift = (latency.get("reference") or {}).get("largest_drift")
    return "" if drift is None else f"{numbers.percent(drift)} at most"


def _time(key: str) -> Callable[[Data], str]:
    return lambda latency: "" if latency.get(key) is None else numbers.milliseconds(latency[key])


def _count(key: str) -> Callable[[Data], str]:
    return lambda latency: "" if latency.get(key) is None else numbers.count(latency[key])


_CONDITIONS: dict[str, Callable[[Data], str]] = {
    "Device": lambda latency: _named(latency, "device", "name"),
    "System": lambda latency: _named(latency, "device", "os"),
    "Processor": lambda latency: _named(latency, "device", "cpu"),
    "Runtime": lambda latency: _named(latency, "runtime", "name", "version").replace(", ", " ", 1),
    "Computed by": _backend,
    "Threads": _count("threads"),
    "Samples": _samples,
    "Processes repeated": _count("repeated_processes"),
    "Drift of the reference model": _drift,
    "Load, cold": _time("load_cold_ms"),
    "Load, warm": _time("load_warm_ms"),
    "First call": _time("first_run_ms"),
    "Load average, 1 min": _telemetry("loadavg", lambda load: f"{load[0]:.2f}"),
    "Clock": _telemetry("cpu_mhz", lambda clock: f"{numbers.count(clock)}{numbers.THIN}MHz"),
    "Governor": _telemetry("governor", str),
    "Temperature": _telemetry("temperature_c", lambda degrees: f"{degrees:.0f}{numbers.THIN}°C"),
}
