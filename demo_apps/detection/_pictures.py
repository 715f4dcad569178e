"""Pictures with boxes: one with what was found, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from demo_apps.detection._boxes import Floats, Ints

__all__ = ["COLOURS", "draw_boxes", "png_of", "side_by_side"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""By class, over again where there are more; also told apart by those who see no red or green (Okabe and Ito)."""

_LINE = 3
_HEADER = 30
_GAP = 8
_FONT_SIZE = 20


def draw_boxes(image: Image.Image, boxes: Floats, labels: Ints, *, scale: float = 1.0) -> Image.Image:
    """A copy of an image, ``scale`` times as large, with boxes in its own pixels."""
    size = round(image.width * scale), round(image.height * scale)
    drawn = image.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)
    for box, label in zip(boxes, labels, strict=True):
        left, top, right, bottom = (float(side) * scale for side in box)
        if right > left and bottom > top:
            pen.rectangle((left, top, right, bottom), outline=COLOURS[int(label) % len(COLOURS)], width=_LINE)
    return drawn


def side_by_side(pictures: Sequence[tuple[str, Image.Image]], classes: Sequence[str]) -> Image.Image:
    """Pictures of one size in a row, each under its name, and which colour is which class under the first."""
    width, height = pictures[0][1].size
    row = Image.new("RGB", (len(pictures) * (width + _GAP) - _GAP, height + 2 * _HEADER), "white")
    pen, font = ImageDraw.Draw(row), ImageFont.load_default(_FONT_SIZE)
    for place, (name, picture) in enumerate(pictures):
        row.paste(picture, (place * (width + _GAP), _HEADER))
        pen.text((place * (width + _GAP) + 2, 2), name, fill="black", font=font)
    left = 2.0
    for label, name in enumerate(classes[: len(COLOURS)]):
        middle = height + 1.5 * _HEADER
        pen.rectangle((left, middle - 7, left + 14, middle + 7), outline=COLOURS[label], width=_LINE)
        pen.text((left + 22, middle), name, fill="black", font=font, anchor="lm")
        left += 22 + pen.textlength(name, font=font) + 24
    return row


def png_of(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
