"""What the makers' own benchmark tools print, as facts: pure functions from text, for several releases of each.

A phone's log may put a prefix before every line, builds differ in which lines they print, and units differ by line. A
line is therefore looked for anywhere, and what a build does not print is None.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, ValidationError

from converters import DeviceError
from mobiledistill.devices._record import Record

__all__ = ["ToolTimes", "benchmark_model", "litert_benchmark_model", "onnxruntime_perf_test"]

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_MEGA = 1 << 20

Milliseconds = Annotated[float, Field(ge=0)]


class ToolTimes(Record):
    """One call of a tool: means and percentiles, for the tools keep their samples to themselves.

    Attributes:
        runs: how many it timed, which is not always how many it was asked for.
        init_ms: from the file to ready.
        first_ms: the first run.
        memory_bytes: what the tool says that it needed at most; tools count differently.
        backend: what it says that it ran on; None where it says nothing.
    """

    runs: Annotated[int, Field(ge=1)]
    mean_ms: Milliseconds
    median_ms: Milliseconds | None = None
    min_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    std_ms: Milliseconds | None = None
    init_ms: Milliseconds | None = None
    first_ms: Milliseconds | None = None
    memory_bytes: Annotated[int, Field(ge=0)] | None = None
    backend: str | None = None


def benchmark_model(text: str) -> ToolTimes:
    """Of TFLite's ``benchmark_model``, which runs the interpreter.

    Raises:
        DeviceError: it came to no result.
    """
    lines = [dict(re.findall(r"(\w+)=([\d.e+]+)", line)) for line in re.findall(r"\bcount=.*", text)]
    summary = re.search(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}", text)
    mean = re.search(rf"Inference \(avg\): {_NUMBER}\s*$|, Inference: {_NUMBER}", text, re.MULTILINE)
    old = re.search(rf"Average inference timings in us: Warmup: {_NUMBER}, Init: {_NUMBER}", text)
    if not lines or mean is None:
        raise _no_result("benchmark_model", text)
    timed = lines[-1]  # the lines before are the warm-up's
    return _times(
        "benchmark_model",
        text,
        runs=timed.get("count"),
        mean_ms=_micro(mean[1] or mean[2]),
        median_ms=_micro(timed.get("median")),
        min_ms=_micro(timed.get("min", timed.get("curr"))),
        max_ms=_micro(timed.get("max", timed.get("curr"))),
        p95_ms=_micro(timed.get("p95")),
        std_ms=_micro(timed.get("std")),
        init_ms=_micro(summary[1] if summary else old[2] if old else None),
        first_ms=_micro(summary[2] if summary else None),
        memory_bytes=_mega(_found(rf"footprint[^\n]*overall={_NUMBER}", text)),
        backend=_delegate(text),
    )


def litert_benchmark_model(text: str) -> ToolTimes:
    """Of LiteRT's ``benchmark_model``, which runs a compiled model; its mirror in Python prints the same.

    Raises:
        DeviceError: it came to no result.
    """
    result = re.search(rf"Inference \(avg\):\s*{_NUMBER} ms \((\d+) runs\)", text)
    if result is None:
        raise _no_result("LiteRT's benchmark_model", text)
    range_ms = re.search(rf"Inference \(min\|max\):\s*{_NUMBER} ms \| {_NUMBER} ms|\(min\|max\):\s*{_NUMBER} ms", text)
    accelerated = re.search(r"Fully accelerated:\s*(True|False|yes|no)", text, re.IGNORECASE)
    told = accelerated[1].lower() in ("true", "yes") if accelerated else None
    return _times(
        "LiteRT's benchmark_model",
        text,
        runs=result[2],
        mean_ms=result[1],
        median_ms=_found(rf"Inference \(median\):\s*{_NUMBER} ms", text),
        min_ms=_found(rf"Inference \(min\):\s*{_NUMBER} ms", text) or (range_ms[1] if range_ms else None),
        max_ms=_found(rf"Inference \(max\):\s*{_NUMBER} ms", text) or (range_ms[2] if range_ms else None),
        p95_ms=_found(rf"Inference \(p95\):\s*{_NUMBER} ms", text),
        std_ms=_found(rf"Inference \(std\):\s*{_NUMBER}", text),
        init_ms=_found(rf"Model initialization:\s*{_NUMBER} ms", text),
        first_ms=_found(rf"(?:Warmup \(first\)|First inference):\s*{_NUMBER} ms", text),
        memory_bytes=_mega(_found(rf"Peak memory:\s*{_NUMBER} MB", text)),
        backend=None if told is None else "the whole graph" if told else "in parts",
    )


def onnxruntime_perf_test(text: str) -> ToolTimes:
    """Of ONNX Runtime's ``onnxruntime_perf_test``.

    Raises:
        DeviceError: it came to no result.
    """
    mean = _found(rf"Average inference time cost(?: total)?:\s*{_NUMBER} ms", text)
    runs = _found(r"Total inference requests:\s*(\d+)", text)
    if mean is None or runs is None:
        raise _no_result("onnxruntime_perf_test", text)
    return _times(
        "onnxruntime_perf_test",
        text,
        runs=runs,
        mean_ms=mean,
        median_ms=_seconds(_found(rf"P50 Latency:\s*{_NUMBER} s", text)),
        min_ms=_seconds(_found(rf"Min Latency:\s*{_NUMBER} s", text)),
        max_ms=_seconds(_found(rf"Max Latency:\s*{_NUMBER} s", text)),
        p95_ms=_seconds(_found(rf"P95 Latency:\s*{_NUMBER} s", text)),
        init_ms=_seconds(_found(rf"Session creation time cost:\s*{_NUMBER} s", text)),
        first_ms=_found(rf"First inference time cost:\s*{_NUMBER} ms", text),
        memory_bytes=_found(r"Peak working set size:\s*(\d+)", text),
        backend=_found(r"using (\w+ExecutionProvider)", text),
    )


def _delegate(text: str) -> str | None:
    """The delegate that runs the graph, as far as the tool tells; a delegate that was asked for may do nothing."""
    if none := re.search(r"Though (\w+) delegate is explicitly applied, the model graph will not be executed", text):
        return f"cpu: {none[1]} was applied and runs nothing"
    applied = re.search(
        r"Explicitly applied (\w+) delegate, and the model graph will be (completely|partially) executed"
        r"(?: by the delegate w/ (\d+) delegate kernels)?",
        text,
    )
    if applied is None:
        return None
    parts = "the whole graph" if applied[2] == "completely" else f"{applied[3] or 'some'} partitions"
    return f"{applied[1]}, {parts}"


def _times(tool: str, text: str, **found: object) -> ToolTimes:
    try:
        return ToolTimes.model_validate(found)
    except ValidationError:
        raise _no_result(tool, text) from None


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return None if match is None else match[1]


def _micro(value: str | None) -> float | None:
    return None if value is None else _float(value) / 1e3


def _seconds(value: str | None) -> float | None:
    return None if value is None else _float(value) * 1e3


def _mega(value: str | None) -> int | None:
    return None if value is None else int(min(_float(value), 1e9) * _MEGA)


def _float(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return -1.0  # refused as what it is: no time


def _no_result(tool: str, text: str) -> DeviceError:
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return DeviceError(
        f"{tool} came to no result; its last words: {said[-1][:200] if said else 'none'}. Run it by hand to see more."
    )
