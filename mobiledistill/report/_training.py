"""The figures of how the student learned: its score and its loss, with the phases as bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.etree.ElementTree import Element

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._svg import CHARACTER, NARROW, WIDE, Figure, Scale, canvas, draw, label, markup, ticks

__all__ = ["Epoch", "loss_figure", "score_figure"]

_LINEAR_UP_TO = 20.0  # losses whose range is larger stand on a logarithmic axis
_LEFT, _ROW = 42.0, 15.0


@dataclass(frozen=True)
class Epoch:
    """One epoch of one phase; ``score`` is None where none was taken."""

    phase: str
    loss: float
    score: float | None


@dataclass(frozen=True)
class _Chart:
    """What both figures hand to the drawing."""

    key: str
    title: str
    description: str
    bands: Sequence[tuple[str, int, int]]
    values: Sequence[float | None]
    dashed: float | None
    unit: str
    height: float
    log: bool
    names_phases: bool


def score_figure(epochs: Sequence[Epoch], teacher: float | None, metric: str, unit: str) -> Figure:
    """The validation score over all epochs, phases as bands, the teacher's score dashed."""
    values = [epoch.score for epoch in epochs]
    known = _finite(values)
    description = f"Validation {metric} over {len(epochs)} epochs"
    description += f", from {numbers.score(known[0], unit)} to {numbers.score(known[-1], unit)}" if known else ""
    description += "." if teacher is None else f"; the teacher stands at {numbers.score(teacher, unit)}."
    title = f"{metric[:1].upper()}{metric[1:]}" + (f", {unit}" if unit else "")
    return _figure(
        _Chart("score", title, description, _bands(epochs), values, teacher, unit, 230.0, log=False, names_phases=True)
    )


def loss_figure(epochs: Sequence[Epoch]) -> Figure:
    """The training loss over all epochs, on the same horizontal axis as the score."""
    values = [epoch.loss for epoch in epochs]
    known = _finite(values)
    description = f"Training loss over {len(epochs)} epochs"
    description += f", from {known[0]:.3g} to {known[-1]:.3g}." if known else "."
    log = bool(known) and min(known) > 0 and max(known) / min(known) > _LINEAR_UP_TO
    return _figure(
        _Chart("loss", "Loss", description, _bands(epochs), values, None, "", 110.0, log, names_phases=False)
    )


def _figure(chart: _Chart) -> Figure:
    return Figure(_draw(chart, WIDE, f"{chart.key}-wide"), _draw(chart, NARROW, f"{chart.key}-narrow"))


def _draw(chart: _Chart, width: float, key: str) -> str:
    x = Scale(0.0, float(max(1, len(chart.values))), _LEFT, width - 6.0)
    rows = _label_rows(chart.bands, x) if chart.names_phases else []
    top = 24.0 + _ROW * (max(rows) + 1 if rows else 0)
    base = top + chart.height
    known = _finite(chart.values)
    root = canvas(width, base + 36, chart.title, chart.description, key)
    label(root, 0, 12, chart.title + (" (logarithmic)" if chart.log else ""), "label strong")
    _draw_bands(root, chart.bands, rows, x, top, base)
    y = _vertical(known if chart.dashed is None else [*known, chart.dashed], base, top, chart.log)
    for tick in ticks(y.low, y.high, 5 if chart.height > 150 else 3, y.log):
        draw(root, "line", "grid", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick))
        label(root, x.start - 6, y(tick) + 4, numbers.short(tick), anchor="end")
    for tick in ticks(x.low, x.high, 10 if width == WIDE else 5):
        if tick == int(tick):
            label(root, x(tick), base + 16, numbers.short(tick), anchor="middle")
    draw(root, "line", "axis", x1=x.start, x2=x.end, y1=base, y2=base)
    label(root, x.end, base + 33, "epochs", anchor="end")
    if chart.dashed is not None:
        draw(root, "line", "dashed", x1=x.start, x2=x.end, y1=y(chart.dashed), y2=y(chart.dashed))
        label(root, x.end - 4, y(chart.dashed) - 6, f"teacher {numbers.score(chart.dashed, chart.unit)}", anchor="end")
    _draw_curve(root, chart, x, y)
    return markup(root)


def _draw_bands(
    root: Element, bands: Sequence[tuple[str, int, int]], rows: Sequence[int], x: Scale, top: float, base: float
) -> None:
    for number, (phase, start, end) in enumerate(bands):
        style = "band-even" if number % 2 == 0 else "band-odd"
        draw(root, "rect", style, x=x(start), y=top, width=x(end) - x(start), height=base - top)
        if rows:
            at = top - 6 - _ROW * rows[number]
            draw(root, "line", "lead", x1=x(start), x2=x(start), y1=at - 9, y2=top)
            label(root, _label_start(phase, start, x), at, phase)


def _draw_curve(root: Element, chart: _Chart, x: Scale, y: Scale) -> None:
    """Joins the epochs that have a value; a single one is a dot."""
    points = [
        (x(number + 0.5), y(value))
        for number, value in enumerate(chart.values)
        if value is not None and math.isfinite(value)
    ]
    if not points:
        label(root, (x.start + x.end) / 2, (y.start + y.end) / 2, "no epoch has a value", anchor="middle")
        return
    draw(root, "polyline", "curve", points=" ".join(f"{left:.1f},{down:.1f}" for left, down in points))
    draw(root, "circle", "dot", cx=points[-1][0], cy=points[-1][1], r=3)
    last = _finite(chart.values)[-1]
    text = numbers.score(last, chart.unit) if chart.names_phases else numbers.significant(last)
    above = not chart.names_phases and points[-1][1] > (y.start + y.end) / 2
    label(root, x.end - 4, points[-1][1] + (-9 if above else 18), text, "label value", "end")


def _bands(epochs: Sequence[Epoch]) -> list[tuple[str, int, int]]:
    """(phase, first epoch, one past the last epoch)."""
    bands, start = [], 0
    for phase, group in groupby(epoch.phase for epoch in epochs):
        end = start + len(list(group))
        bands.append((phase, start, end))
        start = end
    return bands


def _label_rows(bands: Sequence[tuple[str, int, int]], x: Scale) -> list[int]:
    """Names above narrow bands would run into each other: each takes the lowest row that is free.

    Placed from the right. A name's lead line runs down through all rows below it, so those end there as well.
    """
    rows: list[int] = []
    free: list[float] = []  # of each row, where what stands in it begins
    for phase, start, _ in reversed(bands):
        begin = _label_start(phase, start, x)
        end = begin + CHARACTER * len(phase) + 6
        row = next((number for number, left in enumerate(free) if end <= left), len(free))
        free[: row + 1] = [min([begin, x(start), *free[number : number + 1]]) for number in range(row + 1)]
        rows.append(row)
    return rows[::-1]


def _label_start(phase: str, start: int, x: Scale) -> float:
    return min(x(start) + 4, x.end - CHARACTER * len(phase))


def _vertical(values: Sequence[float], base: float, top: float, log: bool) -> Scale:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log:
        return Scale(low / 1.2, high * 1.2, base, top, log=True)
    room = (high - low) or abs(high) or 1.0
    return Scale(low - 0.05 * room, high + 0.12 * room, base, top)


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]
