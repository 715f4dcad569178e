"""Relations: what they are blind to, as their papers promise, and what they see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mobiledistill.distill import Angles, Correlations, Distances, Loss, Similarities
from tests.distill._steps import noise, step_of

TEACHER = noise(7, 4)
TURN = torch.linalg.qr(noise(4, 4, seed=1))[0]


@pytest.mark.parametrize(
    ("loss", "change"),
    [
        pytest.param(Distances(), lambda x: 3 * x @ TURN + 5, id="distances: scale, turn and shift"),
        pytest.param(Angles(), lambda x: 3 * x @ TURN + 5, id="angles: scale, turn and shift"),
        pytest.param(Similarities(), lambda x: x @ TURN * noise(7, 1).abs(), id="similarities: turn, each its length"),
    ],
)
def test_what_keeps_all_relations_is_free(loss: Loss, change: Callable[[Tensor], Tensor]) -> None:
    assert loss(step_of(change(TEACHER), TEACHER)).item() == pytest.approx(0.0, abs=1e-5)
    assert loss(step_of(TEACHER.flip(0), TEACHER)).item() > 1e-2


def test_distances_are_huber_s_of_those_over_their_mean() -> None:
    student = noise(7, 4, seed=2)

    def distances(rows: Tensor) -> Tensor:
        pairs = torch.nn.functional.pdist(rows)
        return pairs / pairs.mean()

    expected = torch.nn.functional.smooth_l1_loss(distances(student), distances(TEACHER))
    assert Distances()(step_of(student, TEACHER)).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_right_angle_where_the_teacher_has_none() -> None:
    teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])  # in one line: cosines 1, -1, 1
    student = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])  # a right angle in the middle: 0.7, 0, 0.7

    apart = torch.tensor([1 - 0.5**0.5, 1.0, 1 - 0.5**0.5])
    expected = torch.nn.functional.smooth_l1_loss(apart, torch.zeros(3))
    assert Angles()(step_of(student, teacher)).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_correlations_are_pearsons_of_rows_and_of_columns(weights: tuple[float, float]) -> None:
    student = noise(7, 4, seed=2)
    between, within = weights

    def unlike(first: np.ndarray, second: np.ndarray) -> float:
        return float(1 - np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(first, second, strict=True)]))

    told, wanted = (torch.softmax(logits / 2, -1).numpy() for logits in (student, TEACHER))
    expected = 4 * (between * unlike(told, wanted) + within * unlike(told.T, wanted.T))
    loss = Correlations(temperature=2.0, between=between, within=within)
    assert loss(step_of(student, TEACHER)).item() == pytest.approx(expected, rel=1e-4)
