"""The figure of how latencies are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._svg import CHARACTER, NARROW, WIDE, Figure, Scale, canvas, draw, fitted, label, markup, ticks

__all__ = ["Strip", "latency_figure"]

_LINEAR_UP_TO = 6.0
_ROW, _HEADING = 58.0, 22.0
_BIN = 3.0  # pixels


@dataclass(frozen=True)
class Strip:
    """The latencies of one file; without samples, its median, the interval of that and the 90th percentile."""

    name: str
    is_teacher: bool
    samples_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    ci95_ms: tuple[float, float]
    limit_ms: float | None


def latency_figure(strips: Sequence[Strip]) -> Figure:
    """One row for each file: its histogram, its median, and the limit where it has one."""
    return Figure(_draw(strips, WIDE, "latency-wide"), _draw(strips, NARROW, "latency-narrow"))


def _draw(strips: Sequence[Strip], width: float, key: str) -> str:
    base = _ROW * len(strips)
    medians = "; ".join(f"{strip.name} {numbers.milliseconds(strip.p50_ms)}" for strip in strips)
    root = canvas(width, base + 40, "Distributions of latency", f"Medians: {medians}.", key)
    axis = _axis(strips, width)
    for tick in ticks(axis.low, axis.high, 8 if width == WIDE else 5, axis.log):
        draw(root, "line", "grid", x1=axis(tick), x2=axis(tick), y1=_HEADING, y2=base)
        label(root, axis(tick), base + 16, numbers.short(tick), anchor="middle")
    label(root, axis.end, base + 34, "ms, logarithmic" if axis.log else "ms", anchor="end")
    for number, strip in enumerate(strips):
        _draw_strip(root, strip, axis, _ROW * number)
    return markup(root)


def _axis(strips: Sequence[Strip], width: float) -> Scale:
    """Wide enough for 99 % of every file's samples and for every limit."""
    lows = [float(np.percentile(strip.samples_ms, 0.5)) if strip.samples_ms else strip.ci95_ms[0] for strip in strips]
    highs = [float(np.percentile(strip.samples_ms, 99)) if strip.samples_ms else strip.p90_ms for strip in strips]
    limits = [strip.limit_ms for strip in strips if strip.limit_ms is not None]
    low, high = max(min(lows + limits), 1e-6), max(highs + limits)
    if high / low > _LINEAR_UP_TO:
        return Scale(low / 1.25, high * 1.25, 4.0, width - 4.0, log=True)
    edge = 0.08 * (high - low) or 0.1 * high
    return Scale(max(0.0, low - edge), high + edge, 4.0, width - 4.0)


def _draw_strip(root: Element, strip: Strip, axis: Scale, top: float) -> None:
    base, height = top + _ROW - 2, _ROW - _HEADING - 2
    kind = "teacher" if strip.is_teacher else "student"
    if strip.samples_ms:
        draw(root, "polygon", f"histogram-{kind}", points=_histogram(strip, axis, base, height))
    else:
        low, high = axis(strip.ci95_ms[0]), axis(strip.ci95_ms[1])
        draw(root, "line", "whisker", x1=axis(strip.p50_ms), x2=axis(strip.p90_ms), y1=base - 9, y2=base - 9)
        draw(root, "rect", f"histogram-{kind}", x=low, y=base - 14, width=max(high - low, 2.0), height=10)
    draw(root, "line", "axis", x1=axis.start, x2=axis.end, y1=base, y2=base)
    middle = axis(strip.p50_ms)
    draw(root, "line", "median", x1=middle, x2=middle, y1=base - height, y2=base)
    if strip.limit_ms is not None:
        _draw_limit(root, strip.limit_ms, axis, top, base)
    value = f"median {numbers.milliseconds(strip.p50_ms)}"
    room = axis.end - axis.start - CHARACTER * (len(value) + 2)
    label(root, axis.start, top + 15, fitted(strip.name, room), "label strong")
    label(root, axis.end, top + 15, value, "label value", "end")


def _draw_limit(root: Element, limit_ms: float, axis: Scale, top: float, base: float) -> None:
    at = axis(limit_ms)
    text = f"limit {numbers.short(limit_ms)}{numbers.THIN}ms"
    left = at + 8 + CHARACTER * len(text) > axis.end
    draw(root, "line", "limit", x1=at, x2=at, y1=top + _HEADING, y2=base)
    label(root, at + (-5 if left else 5), top + _HEADING + 9, text, anchor="end" if left else "start")


def _histogram(strip: Strip, axis: Scale, base: float, height: float) -> str:
    seen = [axis(value) for value in strip.samples_ms if axis.low <= value <= axis.high]
    counts, edges = np.histogram(seen, bins=int((axis.end - axis.start) / _BIN), range=(axis.start, axis.end))
    tallest = max(1, int(counts.max()))
    points = [f"{edges[0]:.1f},{base:.1f}"]
    for amount, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        y = base - height * float(amount) / tallest
        points += [f"{left:.1f},{y:.1f}", f"{right:.1f},{y:.1f}"]
    return " ".join([*points, f"{edges[-1]:.1f},{base:.1f}"])
