"""COCO's average precision, and what chance has to do with it.

Matching is done by ``pycocotools``, once. What is left, sorting and summing, is cheap, so it can be done again for
each of many resamples of the images.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo_apps.detection._boxes import Detections
from demo_apps.detection._image import LabelledImage
from mobiledistill import MissingExtraError

__all__ = ["OVERLAPS", "Difference", "Matches", "match", "paired_difference"]

OVERLAPS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Intersections over union at which a box counts as found; AP is the mean over all of them."""

_RECALLS = np.linspace(0, 1, 101)
_MOST_BOXES = 100

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _ClassMatches:
    """One class: which answers, the surest first, hit a true box at each overlap."""

    hits: NDArray[np.bool_]  # (overlaps, answers)
    images: NDArray[np.int64]  # (answers,)
    truths: NDArray[np.int64]  # (images,): true boxes


@dataclass(frozen=True, eq=False)
class Matches:
    """Answers matched with true boxes: average precision of all images, or of any sample of them.

    Attributes:
        images: how many images there are.
        classes: matches of each class.
    """

    images: int
    classes: tuple[_ClassMatches, ...]

    @cached_property
    def table(self) -> Doubles:
        """Average precision by class and overlap, shape ``(classes, 10)``; NaN for a class without true boxes."""
        return self._table(np.ones(self.images, np.int64))

    def ap(self, overlap: float | None = None) -> float:
        """Average precision, 0 to 1: COCO's AP, or at one overlap, such as 0.5 for AP50."""
        return _mean(self.table if overlap is None else self.table[:, np.isclose(OVERLAPS, overlap)])

    def ap_of(self, counts: NDArray[np.int64]) -> float:
        """COCO's AP where each image occurs ``counts`` times, shape ``(images,)``."""
        return _mean(self._table(counts))

    def interval(self, resamples: int = 200, seed: int = 0) -> tuple[float, float]:
        """The 95 % interval of AP, by bootstrap over images."""
        values = [self.ap_of(counts) for counts in _resamples(self.images, resamples, seed)]
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)

    def _table(self, counts: NDArray[np.int64]) -> Doubles:
        return np.stack([_average_precisions(part, counts) for part in self.classes])


@dataclass(frozen=True)
class Difference:
    """How much higher one AP is than another on the same images, with its 95 % interval."""

    value: float
    ci95: tuple[float, float]


def paired_difference(one: Matches, other: Matches, resamples: int = 2000, seed: int = 0) -> Difference:
    """AP of ``one`` less AP of ``other``, by bootstrap over the images that both answered."""
    values = [one.ap_of(counts) - other.ap_of(counts) for counts in _resamples(one.images, resamples, seed)]
    low, high = np.percentile(values, [2.5, 97.5])
    return Difference(one.ap() - other.ap(), (float(low), float(high)))


def match(truth: Sequence[LabelledImage], answers: Sequence[Detections], classes: int) -> Matches:
    """Matches answers with true boxes as COCO does: 100 boxes an image, all sizes.

    Args:
        truth: the images.
        answers: one for each image.
        classes: how many classes there are.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("pycocotools", "demos") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = _as_coco(truth, classes)
        coco.createIndex()
        found = COCO()
        found.dataset = _as_coco(truth, classes, answers)
        found.createIndex()
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.params.iouThrs = OVERLAPS
        evaluation.evaluate()
    by_class = np.array(evaluation.evalImgs, dtype=object).reshape(classes, len(truth))
    return Matches(len(truth), tuple(_class_matches(row) for row in by_class))


def _as_coco(
    truth: Sequence[LabelledImage], classes: int, answers: Sequence[Detections] | None = None
) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(truth):
        said = image if answers is None else answers[number]
        scores = np.ones(len(said.labels)) if isinstance(said, LabelledImage) else said.scores
        for box, label, score in zip(said.boxes.astype(np.float64), said.labels, scores, strict=True):
            size = (box[2:] - box[:2]).clip(0)
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would read as "not matched"
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": [box[0], box[1], size[0], size[1]],
                    "area": float(size.prod()),
                    "iscrowd": 0,
                    "score": float(score),
                }
            )
    return {
        "images": [{"id": number} for number in range(len(truth))],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": annotations,
    }


def _class_matches(row: Iterable[dict[str, Any] | None]) -> _ClassMatches:
    """Gathers what pycocotools says of the images of one class; None stands for an image without boxes."""
    row = list(row)
    truths = np.array([0 if one is None else len(one["gtIds"]) for one in row], np.int64)
    said = [(number, one) for number, one in enumerate(row) if one is not None and one["dtIds"]]
    if not said:
        return _ClassMatches(np.zeros((len(OVERLAPS), 0), bool), np.zeros(0, np.int64), truths)
    scores = np.concatenate([one["dtScores"] for _, one in said])
    hits = np.concatenate([one["dtMatches"] > 0 for _, one in said], axis=1)
    images = np.concatenate([np.full(len(one["dtIds"]), number) for number, one in said])
    order = np.argsort(-scores, kind="mergesort")
    return _ClassMatches(hits[:, order], images[order], truths)


def _average_precisions(part: _ClassMatches, counts: NDArray[np.int64]) -> Doubles:
    """Average precision at each overlap: precision at 101 recalls, the best at any higher recall, averaged."""
    truths = int((part.truths * counts).sum())
    if truths == 0:
        return np.full(len(OVERLAPS), np.nan)
    weights = counts[part.images]
    seen = weights > 0
    hits = np.cumsum(part.hits[:, seen] * weights[seen], axis=1)
    recalls = hits / truths
    precisions = hits / np.cumsum(weights[seen])
    precisions = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    means = np.zeros(len(OVERLAPS))
    for number, (recall, precision) in enumerate(zip(recalls, precisions, strict=True)):
        places = np.searchsorted(recall, _RECALLS, side="left")
        means[number] = precision[places[places < len(precision)]].sum() / len(_RECALLS)
    return means


def _mean(table: Doubles) -> float:
    known = table[~np.isnan(table)]
    return float(known.mean()) if known.size else 0.0


def _resamples(images: int, resamples: int, seed: int) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [np.bincount(random.integers(images, size=images), minlength=images) for _ in range(resamples)]
