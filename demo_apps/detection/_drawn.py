"""Blood that the demo draws itself where no photographs are at hand: discs and blobs, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo_apps.detection._boxes import Floats
from demo_apps.detection._image import HEIGHT, WIDTH, LabelledImage, Pixels

__all__ = ["CLASSES", "drawn_images"]

CLASSES = ("Platelets", "RBC", "WBC")
"""The classes of the real photographs: platelets, red and white blood cells."""

_IMAGES = {"train": 64, "val": 24, "test": 24}
_RADII = (10.0, 26.0, 46.0)  # by class, in pixels
_BACKGROUND = (222.0, 205.0, 200.0)
_RED, _PALE = (205.0, 140.0, 135.0), (222.0, 190.0, 184.0)
_PURPLE, _NUCLEUS = (196.0, 168.0, 205.0), (112.0, 62.0, 150.0)
_GRID = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64) + 0.5

Doubles = NDArray[np.float64]


def drawn_images(seed: int = 0) -> dict[str, tuple[LabelledImage, ...]]:
    """112 images in three parts, the same for the same seed, in about two seconds.

    Good for showing that everything runs where nothing can be fetched; average precision on it says little about
    photographs.

    Args:
        seed: of what makes two images differ.
    """
    return {
        part: tuple(_draw(f"{part}-{number}", np.random.default_rng((seed, place, number))) for number in range(count))
        for place, (part, count) in enumerate(_IMAGES.items())
    }


def _draw(name: str, random: np.random.Generator) -> LabelledImage:
    canvas = np.empty((3, HEIGHT, WIDTH))
    canvas[:] = np.array(_BACKGROUND)[:, None, None]
    wishes = [2] * int(random.integers(0, 2)) + [1] * int(random.integers(6, 14)) + [0] * int(random.integers(0, 3))
    places: list[tuple[Doubles, float]] = []
    labels: list[int] = []
    for label in wishes:
        size = _RADII[label] * random.uniform(0.85, 1.15)
        middle = random.uniform((0.2 * size, 0.2 * size), (HEIGHT - 0.2 * size, WIDTH - 0.2 * size))
        if any(np.hypot(*(middle - other)) < 0.8 * (size + reach) for other, reach in places):
            continue
        _paint(canvas, label, middle, size, random)
        places.append((middle, size))
        labels.append(label)
    canvas += random.normal(0, 5, canvas.shape) + random.normal(0, 8, (3, 1, 1))
    pixels: Pixels = canvas.clip(0, 255).astype(np.uint8)
    corners = [(middle[1] - size, middle[0] - size, middle[1] + size, middle[0] + size) for middle, size in places]
    boxes: Floats = np.array(corners, np.float32).reshape(-1, 4).clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
    return LabelledImage(name, pixels, boxes, np.array(labels, np.int64))


def _paint(canvas: Doubles, label: int, middle: Doubles, size: float, random: np.random.Generator) -> None:
    """One cell of radius ``size``: red ones are pale inside, white ones have a lobed nucleus, platelets neither."""
    if label == 1:
        _disc(canvas, middle, size, _RED)
        _disc(canvas, middle, size * random.uniform(0.3, 0.5), _PALE, softness=size * 0.2)
    elif label == 2:
        _disc(canvas, middle, size, _PURPLE)
        for _ in range(3):
            _disc(canvas, middle + random.uniform(-0.3, 0.3, 2) * size, size * random.uniform(0.3, 0.5), _NUCLEUS)
    else:
        _disc(canvas, middle, size, _NUCLEUS, softness=2.5)


def _disc(canvas: Doubles, middle: Doubles, radius: float, colour: tuple[float, ...], softness: float = 1.0) -> None:
    low = np.maximum(middle - radius - softness, 0).astype(int)
    high = np.ceil(middle + radius + softness).astype(int)
    part = (slice(low[0], high[0]), slice(low[1], high[1]))
    away = np.hypot(_GRID[0][part] - middle[0], _GRID[1][part] - middle[1])
    cover = ((radius - away) / softness + 0.5).clip(0, 1)
    seen = canvas[:, *part]
    seen += cover * (np.array(colour)[:, None, None] - seen)
