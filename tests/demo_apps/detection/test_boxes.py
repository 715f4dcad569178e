"""Non-maximum suppression against a plain one, and against the vectors that other languages are checked with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo_apps.detection import Detections, keep_best
from demo_apps.detection._boxes import generalized_iou, pairwise_iou

GOLDEN = Path(__file__).parent / "golden" / "keep_best.json"


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(GOLDEN.read_text())["cases"]
    return found


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / union if union else 0.0


def plainly(case: dict[str, Any]) -> list[tuple[list[float], float, int]]:
    """Suppression from its description, one answer after the other."""

    def of_class(label: int) -> Iterator[tuple[list[float], float, int]]:
        answers = [
            (box, scores[label])
            for box, scores in zip(case["boxes"], case["probabilities"], strict=True)
            if scores[label] >= case["least_score"]
        ]
        kept: list[list[float]] = []
        for box, score in sorted(answers, key=lambda answer: -answer[1]):
            if all(iou(box, other) <= case["most_overlap"] for other in kept):
                kept.append(box)
                yield box, score, label

    classes = len(case["probabilities"][0])
    everything = [answer for label in range(classes) for answer in of_class(label)]
    return sorted(everything, key=lambda answer: -answer[1])[: case["most"]]


def kept_by_us(case: dict[str, Any]) -> Detections:
    return keep_best(
        np.array(case["boxes"], np.float32),
        np.array(case["probabilities"], np.float32),
        least_score=case["least_score"],
        most_overlap=case["most_overlap"],
        most=case["most"],
    )


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_golden_vectors(case: dict[str, Any]) -> None:
    found = kept_by_us(case)

    assert found.boxes.tolist() == case["kept"]["boxes"]
    assert found.scores.tolist() == case["kept"]["scores"]
    assert found.labels.tolist() == case["kept"]["labels"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_golden_vectors_are_what_the_description_says(case: dict[str, Any]) -> None:
    answers = plainly(case)

    assert [box for box, _, _ in answers] == case["kept"]["boxes"]
    assert [score for _, score, _ in answers] == case["kept"]["scores"]
    assert [label for _, _, label in answers] == case["kept"]["labels"]


def test_golden_vectors_reach_every_rule() -> None:
    assert {case["name"] for case in cases()} == {
        "overlap exactly at the limit stays",
        "classes do not suppress each other",
        "equal scores keep the order of the cells",
        "what is suppressed suppresses nothing",
        "an empty box overlaps nothing",
        "scores below the least are dropped",
        "no more than the most",
        "a crowd",
    }
    assert any(len(plainly({**case, "most": 10_000})) > case["most"] for case in cases())


def test_detections_above_a_score() -> None:
    found = Detections(np.zeros((3, 4), np.float32), np.array([0.9, 0.5, 0.1], np.float32), np.array([2, 1, 0]))
    assert found.above(0.5).labels.tolist() == [2, 1]


def test_iou_by_arithmetic() -> None:
    one, other = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 0, 6, 4], [4, 4, 8, 8], [0, 0, 4, 4]])

    assert pairwise_iou(one, other)[0].tolist() == pytest.approx([8 / 24, 0, 1])
    # the hull of the second pair is 8 x 8, of which 32 are empty
    assert generalized_iou(one.expand(3, 4), other).tolist() == pytest.approx([8 / 24, -32 / 64, 1])


def test_generalized_iou_pulls_boxes_together_that_do_not_touch() -> None:
    box = torch.tensor([10.0, 0, 12, 2], requires_grad=True)
    generalized_iou(box, torch.tensor([0.0, 0, 2, 2])).backward()  # type: ignore[no-untyped-call]  # torch's

    assert box.grad is not None
    assert box.grad[0] < 0, "moving the left side leftwards brings the boxes together"
