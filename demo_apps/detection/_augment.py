"""What is done to training images: mosaics, scale, flips and turns (cells have no up), colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from demo_apps.detection._boxes import Floats, Ints
from demo_apps.detection._image import HEIGHT, PADDING, WIDTH, LabelledImage

__all__ = ["Augmentation", "Sample"]

Doubles = NDArray[np.float64]

_LEAST_VISIBLE = 0.35  # of a box's area; what shows less of itself is no object any more
_LEAST_SIDE = 4.0


@dataclass(frozen=True, eq=False)
class Sample:
    """A training image ``(3, 240, 320)`` in 0..1 with its boxes and labels."""

    image: Tensor
    boxes: Floats
    labels: Ints


@dataclass(frozen=True)
class Augmentation:
    """Random changes that leave a cell what it is.

    Attributes:
        mosaic: share of the images that are made of four, at random sizes.
        scale: largest factor by which an image grows or shrinks.
        turn: whether images are also turned by 90 degrees.
        brightness: largest change of all three colours, as a factor away from 1.
        colour: likewise of each colour alone.
    """

    mosaic: float = 0.5
    scale: float = 1.4
    turn: bool = True
    brightness: float = 0.2
    colour: float = 0.1

    def __call__(self, images: Sequence[LabelledImage], first: int, random: np.random.Generator) -> Sample:
        """One training image that shows ``images[first]``, and in a mosaic three others."""
        if random.random() >= self.mosaic:
            sample = self._window(images[first], HEIGHT, WIDTH, random)
        else:
            sample = self._mosaic(images, first, random)
        return Sample(self._coloured(sample.image, random), sample.boxes, sample.labels)

    def _mosaic(self, images: Sequence[LabelledImage], first: int, random: np.random.Generator) -> Sample:
        row, column = int(random.uniform(0.3, 0.7) * HEIGHT), int(random.uniform(0.3, 0.7) * WIDTH)
        chosen = [first, *random.integers(len(images), size=3)]
        image = torch.empty(3, HEIGHT, WIDTH)
        boxes, labels = [], []
        for place, number in enumerate(random.permutation(chosen)):
            top, bottom = ((0, row), (row, HEIGHT))[place // 2]
            left, right = ((0, column), (column, WIDTH))[place % 2]
            part = self._window(images[int(number)], bottom - top, right - left, random)
            image[:, top:bottom, left:right] = part.image
            boxes.append(part.boxes + np.array([left, top, left, top], np.float32))
            labels.append(part.labels)
        return Sample(image, np.concatenate(boxes), np.concatenate(labels))

    def _window(self, source: LabelledImage, height: int, width: int, random: np.random.Generator) -> Sample:
        """A window of an image: turned, flipped, scaled, shifted; where it reaches over the edge it is grey."""
        # Places in the window -> places in the source: source = matrix @ window + offset, in pixels.
        zoom = float(np.exp(random.uniform(-1, 1) * np.log(self.scale)))
        matrix: Doubles = np.diag(random.choice([-1.0, 1.0], 2))
        if self.turn and random.random() < 0.5:
            matrix = matrix[::-1]
        matrix = matrix / zoom
        span = np.abs(matrix) @ (width, height)  # of the source, in pixels
        room = np.array([WIDTH, HEIGHT]) - span
        middle = np.array([WIDTH, HEIGHT]) / 2 + random.uniform(-0.5, 0.5, 2) * np.abs(room)
        offset = middle - matrix @ (width / 2, height / 2)
        image = _resampled(source, matrix, offset, height, width)
        boxes, labels = _moved(source, np.asarray(np.linalg.inv(matrix), np.float64), offset, height, width)
        return Sample(image, boxes, labels)

    def _coloured(self, image: Tensor, random: np.random.Generator) -> Tensor:
        factors = random.uniform(1 - self.brightness, 1 + self.brightness) * random.uniform(
            1 - self.colour, 1 + self.colour, 3
        )
        middle = image.mean()
        contrast = random.uniform(1 - self.brightness, 1 + self.brightness)
        image = (image - middle) * contrast + middle
        return (image * torch.from_numpy(factors.astype(np.float32))[:, None, None]).clamp(0, 1)


def _resampled(source: LabelledImage, matrix: Doubles, offset: Doubles, height: int, width: int) -> Tensor:
    """The source seen through the window, bilinear, in 0..1."""
    size = np.array([WIDTH, HEIGHT])
    window = np.array([width, height])
    # grid_sample wants both in -1..1: window = (u + 1) / 2 * window size, source likewise.
    theta = np.empty((2, 3))
    theta[:, :2] = matrix * window[None, :] / size[:, None]
    theta[:, 2] = (2 * (matrix @ (window / 2) + offset)) / size - 1
    grid = functional.affine_grid(
        torch.from_numpy(theta.astype(np.float32))[None], [1, 3, height, width], align_corners=False
    )
    pixels = torch.from_numpy(source.pixels)[None].float() - PADDING  # outside is 0: grey
    seen = functional.grid_sample(pixels, grid, mode="bilinear", align_corners=False)[0]
    return (seen + PADDING) / 255


def _moved(source: LabelledImage, back: Doubles, offset: Doubles, height: int, width: int) -> tuple[Floats, Ints]:
    """The source's boxes in the window; those mostly outside are dropped."""
    corners = source.boxes.reshape(-1, 2, 2).astype(np.float64)
    moved = (corners - offset) @ back.T
    low, high = moved.min(axis=1), moved.max(axis=1)
    window = np.array([width, height])
    cut_low, cut_high = low.clip(0, window), high.clip(0, window)
    visible = (cut_high - cut_low).prod(1) / (high - low).prod(1).clip(1e-6)
    kept = (visible >= _LEAST_VISIBLE) & ((cut_high - cut_low).min(1) >= _LEAST_SIDE)
    boxes = np.concatenate([cut_low, cut_high], axis=1)[kept].astype(np.float32)
    return boxes, source.labels[kept]
