"""Trying an exported file on a picture of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_apps.detection._boxes import Ints
from demo_apps.detection._image import fit_image, read_image
from demo_apps.detection._pictures import draw_boxes, png_of, side_by_side
from demo_apps.detection._task import ASSET, detect
from mobiledistill import Answer, InputError, Predict, TryOut

__all__ = ["answer_image", "counted", "try_out"]

_SHOWN_WIDTH = 800


@dataclass(frozen=True)
class _Facts:
    classes: tuple[str, ...]
    least_score: float
    most_overlap: float


def answer_image(predict: Predict, assets: Path, given: str) -> Answer:
    """What a file finds in a picture: how many of each class, and the picture with its boxes.

    Args:
        predict: the file.
        assets: folder of ``detection.json``.
        given: path of an image of any size.

    Raises:
        InputError: the image is missing or damaged, or ``detection.json`` is.
    """
    facts = _facts(assets / ASSET)
    image = read_image(Path(given))
    pixels, scale = fit_image(image)
    thresholds = {"least_score": facts.least_score, "most_overlap": facts.most_overlap}
    [found] = detect(predict, [pixels], **thresholds)
    factor = _SHOWN_WIDTH / image.width
    text = counted(found.labels, facts.classes)
    drawn = draw_boxes(image, found.boxes / np.float32(scale), found.labels, scale=factor)
    return Answer(text, png_of(side_by_side([(text, drawn)], facts.classes)))


def counted(labels: Ints, classes: Sequence[str]) -> str:
    """How many of each class: ``1 Platelets, 14 RBC, 1 WBC``."""
    counts = np.bincount(labels, minlength=len(classes))
    return ", ".join(f"{count} {name}" for count, name in zip(counts, classes, strict=True) if count) or "nothing found"


def _facts(path: Path) -> _Facts:
    try:
        known = json.loads(path.read_text())
        facts = _Facts(
            tuple(str(name) for name in known["classes"]), float(known["least_score"]), float(known["most_overlap"])
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is missing or not as the run wrote it ({error}): run the demo again.") from error
    return facts


try_out = TryOut(
    "image",
    "A picture (JPEG or PNG) to find cells in, with the file of the last run.",
    answer_image,
    Path(__file__).parent / "page",
)
"""``--image F.jpg``."""
