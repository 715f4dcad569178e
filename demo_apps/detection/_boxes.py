"""Boxes: how much two overlap, and which of many answers to keep.

A box is ``(x1, y1, x2, y2)``, left, top, right and bottom in pixels of the image that the network reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Detections", "Floats", "Ints", "generalized_iou", "keep_best", "pairwise_iou"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_EPSILON = 1e-7


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, the surest first.

    Attributes:
        boxes: shape ``(n, 4)``.
        scores: 0 to 1, shape ``(n,)``.
        labels: numbers of the classes, shape ``(n,)``.
    """

    boxes: Floats
    scores: Floats
    labels: Ints

    def above(self, least_score: float) -> Detections:
        """Those with at least this score."""
        kept = self.scores >= least_score
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept])


def keep_best(
    boxes: Floats, probabilities: Floats, *, least_score: float = 0.01, most_overlap: float = 0.6, most: int = 100
) -> Detections:
    """Non-maximum suppression, class by class: of answers that overlap only the surest stays.

    Every cell may answer for every class. Per class, answers are taken from the surest down, equal ones in the order
    of their cells; one is dropped where its IoU with one that was kept is above ``most_overlap``. Of all classes
    together the ``most`` surest stay, equal ones in the order of their classes. The same in other languages:
    ``tests/demo_apps/detection/golden/keep_best.json`` holds inputs and what must come out.

    Args:
        boxes: of each cell, shape ``(cells, 4)``.
        probabilities: 0 to 1, shape ``(cells, classes)``.
        least_score: answers below are dropped first.
        most_overlap: intersection over union, 0 to 1.
        most: boxes an image.
    """
    found: list[tuple[Floats, Floats, Ints]] = []
    for label in range(probabilities.shape[1]):
        cells = np.flatnonzero(probabilities[:, label] >= least_score)
        cells = cells[np.argsort(-probabilities[cells, label], kind="stable")]
        cells = cells[_survivors(boxes[cells], most_overlap, most)]
        found.append((boxes[cells], probabilities[cells, label], np.full(len(cells), label, np.int64)))
    all_boxes, all_scores, all_labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    best = np.argsort(-all_scores, kind="stable")[:most]
    return Detections(all_boxes[best], all_scores[best], all_labels[best])


def _survivors(boxes: Floats, most_overlap: float, most: int) -> list[int]:
    """Places of the boxes, sorted from the surest down, that no surer one covers."""
    areas = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    alive = np.ones(len(boxes), bool)
    kept: list[int] = []
    for place in range(len(boxes)):
        if not alive[place]:
            continue
        kept.append(place)
        if len(kept) == most:
            break
        rest = slice(place + 1, None)
        width = np.minimum(boxes[place, 2], boxes[rest, 2]) - np.maximum(boxes[place, 0], boxes[rest, 0])
        height = np.minimum(boxes[place, 3], boxes[rest, 3]) - np.maximum(boxes[place, 1], boxes[rest, 1])
        shared = width.clip(0) * height.clip(0)
        alive[rest] &= shared <= most_overlap * (areas[place] + areas[rest] - shared)
    return kept


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair: ``(..., n, 4)`` and ``(..., m, 4)`` to ``(..., n, m)``."""
    first, second = first.unsqueeze(-2), second.unsqueeze(-3)
    shared = _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - shared
    return shared / union.clamp_min(_EPSILON)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU less the empty share of the hull (Rezatofighi et al. 2019), -1 to 1: ``(..., 4)`` twice to ``(...)``.

    Unlike plain IoU it has a gradient where two boxes do not touch.
    """
    shared = _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - shared
    hull = _area(torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:]))
    return shared / union.clamp_min(_EPSILON) - (hull - union) / hull.clamp_min(_EPSILON)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0).prod(-1)
