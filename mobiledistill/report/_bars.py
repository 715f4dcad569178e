"""Bars that stand in table cells: a limit and what was measured, a layer before and after, a phase's share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from mobiledistill.report._svg import bar_svg, draw, markup

__all__ = ["LayerBars", "limit_bar", "share_bar"]

_LIMIT_AT = 80.0  # percent of the strip's width: room to show what went over
_LINEAR_UP_TO = 300.0  # beyond this range the smallest layer's bar could not be seen


def limit_bar(status: str, used: float | None, interval: tuple[float, float] | None, title: str) -> str:
    """What was measured, as a share of its limit, beside the limit's mark.

    Met is a full bar, missed a striped one, unmeasured an empty frame: told apart without colour too.
    """
    root = bar_svg(22, title)
    if used is None or status == "unmeasured":
        draw(root, "rect", "frame", x="0.5", y=6, width=f"{_LIMIT_AT}%", height=10)
    else:
        draw(root, "rect", "track", x=0, y=6, width=f"{_LIMIT_AT}%", height=10)
        draw(root, "line", f"bar-{status}", x1=0, x2=_at(used), y1=11, y2=11)
        if interval is not None:
            _whisker(root, interval)
    draw(root, "line", "limit", x1=f"{_LIMIT_AT}%", x2=f"{_LIMIT_AT}%", y1=1, y2=21)
    return markup(root)


def share_bar(share: float, title: str) -> str:
    """A share between 0 and 1."""
    root = bar_svg(12, title)
    draw(root, "rect", "bar-plain", x=0, y=2, width=f"{100 * min(max(share, 0.0), 1.0):.2f}%", height=8)
    return markup(root)


class LayerBars:
    """Paired bars of all layers on one scale, which is logarithmic where small layers would vanish otherwise."""

    def __init__(self, weights: Sequence[int]) -> None:
        seen = [value for value in weights if value > 0]
        self.log = bool(seen) and max(seen) / min(seen) > _LINEAR_UP_TO
        self._largest = max(seen, default=1)
        self._smallest = 10.0 ** math.floor(math.log10(min(seen) / 2)) if self.log else 0.0

    def draw(self, before: int | None, after: int, title: str) -> str:
        """One layer; ``before`` None where there was nothing before."""
        root = bar_svg(12 if before is None else 20, title)
        for decade in self._decades():
            draw(root, "line", "grid", x1=self._width(decade), x2=self._width(decade), y1=0, y2=20)
        if before is not None:
            draw(root, "rect", "bar-before", x=0, y=2, width=self._width(before), height=7)
        draw(root, "rect", "bar-plain", x=0, y=2 if before is None else 11, width=self._width(after), height=7)
        return markup(root)

    def _decades(self) -> list[float]:
        if not self.log:
            return []
        first, last = round(math.log10(self._smallest)), math.floor(math.log10(self._largest))
        return [10.0**power for power in range(first + 1, last + 1)]

    def _width(self, value: float) -> str:
        if value <= 0:
            return "0%"
        if not self.log:
            return f"{100 * value / self._largest:.2f}%"
        return f"{100 * math.log(value / self._smallest) / math.log(self._largest / self._smallest):.2f}%"


def _at(used: float) -> str:
    return f"{min(_LIMIT_AT * used, 100.0):.2f}%"


def _whisker(root: Element, interval: tuple[float, float]) -> None:
    low, high = (_at(end) for end in interval)
    draw(root, "line", "whisker", x1=low, x2=high, y1=11, y2=11)
    for end in (low, high):
        draw(root, "line", "whisker", x1=end, x2=end, y1=7, y2=15)
