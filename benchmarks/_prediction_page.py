"""How well cost is predicted, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks._students import FAMILIES

__all__ = ["page"]

_TIMED = ("tflite", "onnx")


def page(found: Mapping[str, Any]) -> str:
    """Markdown: what was predicted how well, and each student."""
    table = found["table"]
    lines = [
        "# How well cost is predicted",
        "",
        "Made by `python -m benchmarks.prediction` from `prediction.json`: this computer calibrated on",
        f"{table['networks']} drawn networks, then {len(found['students'])} students of {len(FAMILIES)} families that"
        " no fit has seen.",
        f"Processor: {table['cpu']}, one thread; between {found['load'][0]:.0f} and {found['load'][1]:.0f} other"
        " processes wanted the two cores meanwhile.",
        "",
        *_latency(found),
        *_of_themselves(table),
        *_bytes(found["bytes"]),
        *_students(found["students"]),
    ]
    return "\n".join([*lines, ""])


def _latency(found: Mapping[str, Any]) -> Iterator[str]:
    every = found["latency"]["all"]
    half = "yes" if every["median_error"] <= 0.5 * every["macs_median_error"] else "no"
    yield from [
        "## Latency",
        "",
        "`within` counts predictions off by at most 10 %, or by twice what the same file differs from itself when",
        "measured again. The last columns are a line through multiply-accumulates, fitted to the same calibration.",
        "",
        "| | files | within | median error | 95 % below | bias | measured twice, median | by MACs, median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["latency"].items():
        yield f"{_errors(name, one)} {_percent(one['repeatability_median'])} | {100 * one['macs_median_error']:.0f} % |"
    yield from [
        "",
        "The errors of the students of seed 0 were looked at while it was settled what a kernel's time is fitted to;",
        "those drawn later were not.",
        "",
        f"Asked for were 95 % within: {'reached' if every['within'] >= 0.95 else 'missed'}."
        f" At most half the error of the line through MACs: {half}.",
        "",
        "Other ways from the same calibration:",
        "",
        "| | files | within | median error | 95 % below | bias |",
        "|---|---|---|---|---|---|",
        *(_errors(name, one) for name, one in found["ways"].items()),
        "",
    ]


def _errors(name: str, one: Mapping[str, Any]) -> str:
    return (
        f"| {name} | {one['files']} | {100 * one['within']:.0f} % | {_percent(one['median_error'])} |"
        f" {_percent(one['p95_error'])} | {100 * one['bias']:+.1f} % |"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _of_themselves(table: Mapping[str, Any]) -> Iterator[str]:
    yield from [
        "The tables say of themselves, on networks of their own kind that were held out:",
        "",
        "| | files timed | kinds of kernels | 95 % within | measured twice, 95 % within |",
        "|---|---|---|---|---|",
    ]
    for one in (table[fmt] for fmt in _TIMED):
        shares = f"{100 * one['holdout_error']:.0f} % | {100 * one['repeatability']:.0f} %"
        yield f"| {one['runtime']} | {one['files']} | {one['kinds']} | {shares} |"
    yield ""


def _bytes(found: Mapping[str, Any]) -> Iterator[str]:
    yield from [
        "## Bytes",
        "",
        "As the search predicts them. First it has seen the largest member of the family alone, as its teacher's file;",
        "after a round also the student whose number of weights is nearest. What it hands back it has written.",
        "",
        "| | files | at first within 1 % | median | largest | after a round within 1 % | median | largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        cells = (
            f"{100 * seen['within']:.0f} % | {100 * seen['median']:.2f} % | {_percent(seen['largest'])}"
            for seen in (one["error"], one["error_after_a_round"])
        )
        yield f"| {name} | {one['files']} | {' | '.join(cells)} |"
    yield ""


def _students(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield from [
        "## Each student",
        "",
        "| student | stored as | LiteRT ms | predicted | onnxruntime ms | predicted |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"{cell['measured_ms']:.4f} | {cell['predicted_ms']:.4f} ({100 * cell['error']:+.0f} %)"
            for cell in (row[fmt] for fmt in _TIMED)
        )
        yield f"| {row['name'].partition(' ')[2]} | {row['precision']} | {' | '.join(cells)} |"
