"""One image with its boxes, as the network sees it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from demo_apps.detection._boxes import Floats, Ints
from mobiledistill import InputError

__all__ = ["HEIGHT", "PADDING", "WIDTH", "LabelledImage", "Pixels", "fit_image", "fitted_boxes", "read_image"]

HEIGHT, WIDTH = 240, 320
"""What the network reads, in pixels."""

PADDING = 114
"""The grey that fills what an image of another shape leaves free."""

_MOST_PIXELS = 64_000_000

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image with its boxes.

    Attributes:
        name: of its file, without the ending.
        pixels: RGB, shape ``(3, 240, 320)``.
        boxes: in these pixels, shape ``(n, 4)``.
        labels: numbers of their classes, shape ``(n,)``.
    """

    name: str
    pixels: Pixels
    boxes: Floats
    labels: Ints


def read_image(path: Path) -> Image.Image:
    """Decodes an image file whole, as RGB.

    Raises:
        InputError: it is missing, damaged, cut short, or larger than 64 megapixels.
    """
    try:
        with Image.open(BytesIO(path.read_bytes())) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise InputError(
                    f"{path} has {image.width} x {image.height} pixels, but at most {_MOST_PIXELS // 1_000_000}"
                    " megapixels are read: scale it down."
                )
            return image.convert("RGB")
    except (UnidentifiedImageError, SyntaxError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.strerror is not None:
            raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
        raise InputError(f"{path} is not an image that can be decoded, or is cut short: save it anew.") from error


def fit_image(image: Image.Image) -> tuple[Pixels, float]:
    """Scales an image into 320 x 240, its shape kept, at the upper left; the rest is grey.

    Returns:
        Pixels of shape ``(3, 240, 320)``, and by how much boxes must be multiplied.
    """
    scale = min(WIDTH / image.width, HEIGHT / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.full((3, HEIGHT, WIDTH), PADDING, np.uint8)
    small = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=None))
    pixels[:, : size[1], : size[0]] = small.transpose(2, 0, 1)
    return pixels, scale


def fitted_boxes(boxes: list[tuple[float, float, float, float]], scale: float) -> Floats:
    """Boxes of the original image in the network's pixels, shape ``(n, 4)`` for any n."""
    scaled: Floats = np.asarray(boxes, np.float32).reshape(-1, 4) * np.float32(scale)
    return scaled
