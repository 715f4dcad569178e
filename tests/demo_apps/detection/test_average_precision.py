"""Average precision: pycocotools' own numbers, known cases, and intervals."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from demo_apps.detection import Detections, LabelledImage, match, paired_difference
from demo_apps.detection._average_precision import OVERLAPS, _as_coco

CLASSES = 3


def truth(images: int, seed: int = 0) -> list[LabelledImage]:
    random = np.random.default_rng(seed)
    made = []
    for number in range(images):
        count = int(random.integers(0, 9))
        corner, size = random.uniform(0, 180, (count, 2)), random.uniform(10, 60, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        labels = random.integers(0, CLASSES, count)
        made.append(LabelledImage(f"{number}", np.zeros((3, 1, 1), np.uint8), boxes, labels))
    return made


def answers(images: list[LabelledImage], shift: float, seed: int = 1) -> list[Detections]:
    """The truth, moved by some pixels, with wrong boxes among it, and scores that know a little."""
    random = np.random.default_rng(seed)
    made = []
    for image in images:
        moved = image.boxes + random.normal(0, shift, image.boxes.shape).astype(np.float32)
        wrong = random.uniform(0, 100, (5, 2))
        boxes = np.concatenate([moved, np.concatenate([wrong, wrong + 40], axis=1)]).astype(np.float32)
        scores = np.concatenate([random.uniform(0.3, 1, len(moved)), random.uniform(0, 0.8, 5)]).astype(np.float32)
        labels = np.concatenate([image.labels, random.integers(0, CLASSES, 5)])
        order = np.argsort(-scores, kind="stable")
        made.append(Detections(boxes[order], scores[order], labels[order]))
    return made


def by_pycocotools(images: list[LabelledImage], found: list[Detections]) -> tuple[float, float, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        both = []
        for content in (_as_coco(images, CLASSES), _as_coco(images, CLASSES, found)):
            coco = COCO()
            coco.dataset = content
            coco.createIndex()
            both.append(coco)
        evaluation = COCOeval(*both, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(evaluation.stats[:3])


@pytest.mark.parametrize("shift", [0.5, 3, 8])
def test_it_is_what_pycocotools_says(shift: float) -> None:
    images = truth(30)
    found = answers(images, shift)
    matches = match(images, found, CLASSES)

    ap, ap50, ap75 = by_pycocotools(images, found)
    assert (matches.ap(), matches.ap(0.5), matches.ap(0.75)) == pytest.approx((ap, ap50, ap75), abs=1e-9)
    assert 0.02 < ap < 1


def test_the_truth_itself_scores_1_and_nothing_scores_0() -> None:
    images = truth(8)
    perfect = [Detections(image.boxes, np.ones(len(image.labels), np.float32), image.labels) for image in images]
    nothing = [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))] * 8

    assert match(images, perfect, CLASSES).ap() == 1
    assert match(images, perfect, CLASSES).interval() == (1, 1)
    assert match(images, nothing, CLASSES).ap() == 0


def test_a_class_without_true_boxes_does_not_count() -> None:
    images = truth(8)
    found = [Detections(image.boxes, np.ones(len(image.labels), np.float32), image.labels) for image in images]
    assert match(images, found, CLASSES + 1).ap() == 1


def test_an_image_that_counts_twice_counts_as_two_images() -> None:
    images = truth(12)
    found = answers(images, 3)
    counts = np.random.default_rng(3).integers(0, 3, 12)
    repeated = [(image, one) for image, one, n in zip(images, found, counts, strict=True) for _ in range(n)]

    by_counts = match(images, found, CLASSES).ap_of(counts)
    written_out = match([image for image, _ in repeated], [one for _, one in repeated], CLASSES).ap()

    # pycocotools may stop between two equal answers, counting them at once cannot: less than a box's worth
    assert by_counts == pytest.approx(written_out, abs=0.01)


def test_a_paired_difference_is_narrower_than_either_interval() -> None:
    images = truth(60)
    good = answers(images, 3)
    worse = [Detections(one.boxes + 0.5, one.scores, one.labels) for one in good]
    one, other = match(images, good, CLASSES), match(images, worse, CLASSES)

    found = paired_difference(one, other, resamples=200)

    assert found.value == pytest.approx(one.ap() - other.ap())
    assert found.ci95[0] <= found.value <= found.ci95[1]
    low, high = one.interval()
    assert low <= one.ap() <= high
    assert found.ci95[1] - found.ci95[0] < 0.6 * (high - low)
    assert paired_difference(one, one, resamples=50).ci95 == (0, 0)


def test_overlaps_are_cocos() -> None:
    assert OVERLAPS.tolist() == pytest.approx([0.5 + 0.05 * step for step in range(10)])
