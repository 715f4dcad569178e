"""The few shapes our figures are made of. All text passes through an XML writer, so nothing needs escaping by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = [
    "CHARACTER",
    "NARROW",
    "WIDE",
    "Figure",
    "Scale",
    "bar_svg",
    "canvas",
    "draw",
    "fitted",
    "label",
    "markup",
    "ticks",
]

CHARACTER = 6.3  # width of an average character of the figures' text, generously
WIDE, NARROW = 760.0, 340.0


@dataclass(frozen=True)
class Figure:
    """One figure, drawn twice: for desktops and paper, and for phones."""

    wide: str
    narrow: str


@dataclass(frozen=True)
class Scale:
    """From values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside end up on the edge."""
        value = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * self._share(value)

    def _share(self, value: float) -> float:
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def ticks(low: float, high: float, count: int, log: bool = False) -> list[float]:
    """Round values between ``low`` and ``high``, about ``count`` of them."""
    if log:
        for leads in ((1, 2, 5), (1, 3), (1,)):
            found = [
                lead * 10.0**power
                for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                for lead in leads
                if low <= lead * 10.0**power <= high
            ]
            if len(found) <= count:
                break
        if len(found) >= 2:
            return found[:: math.ceil(len(found) / count)]
    if high <= low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(lead * power for lead in (1, 2, 5, 10) if lead * power >= rough * 0.999)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def canvas(width: float, height: float, title: str, description: str, key: str) -> Element:
    """An empty figure with a title and a description for those who do not see it; ``key`` is unique on the page."""
    root = Element(
        "svg",
        {
            "viewBox": f"0 0 {_text(width)} {_text(height)}",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-description",
        },
    )
    SubElement(root, "title", {"id": f"{key}-title"}).text = title
    SubElement(root, "desc", {"id": f"{key}-description"}).text = description
    return root


def draw(parent: Element, tag: str, style: str, **attributes: float | str) -> Element:
    """Adds a shape; ``style`` is its CSS class, ``stroke_width`` becomes ``stroke-width``."""
    named = {name.replace("_", "-"): _text(value) for name, value in attributes.items()}
    return SubElement(parent, tag, {"class": style, **named})


def label(parent: Element, x: float, y: float, text: str, style: str = "label", anchor: str = "start") -> Element:
    """Adds text whose baseline is at ``y``."""
    element = draw(parent, "text", style, x=x, y=y, text_anchor=anchor)
    element.text = text
    return element


def fitted(text: str, width: float) -> str:
    """The text, shortened to about ``width`` pixels."""
    most = max(1, int(width / CHARACTER))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def markup(root: Element) -> str:
    """The figure as text to stand in HTML."""
    return tostring(root, encoding="unicode")


def bar_svg(height: int, title: str) -> Element:
    """A strip as wide as the cell it stands in: positions in it are percentages."""
    root = Element("svg", {"class": "strip", "width": "100%", "height": str(height), "role": "img"})
    SubElement(root, "title").text = title
    return root


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
