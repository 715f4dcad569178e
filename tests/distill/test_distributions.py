"""Distributions: a crowd has no order, and what two crowds are apart."""

from __future__ import annotations

import pytest
import torch

from mobiledistill import Head
from mobiledistill.distill import BatchDivergence, Loss, MeanDiscrepancy, SlicedWasserstein
from tests.distill._steps import noise, step_of

TEACHER = noise(40, 3)
CROWDS = pytest.mark.parametrize("loss", [MeanDiscrepancy(), SlicedWasserstein()], ids=["kernels", "lines"])


@CROWDS
def test_who_answered_what_does_not_matter(loss: Loss) -> None:
    shuffled = TEACHER[torch.randperm(40, generator=torch.Generator().manual_seed(0))]

    assert loss(step_of(shuffled, TEACHER)).item() == pytest.approx(0.0, abs=1e-6)


@CROWDS
def test_the_further_apart_the_crowds_the_more_it_costs(loss: Loss) -> None:
    costs = []
    for shift in (0.0, 0.5, 1.0, 2.0):
        torch.manual_seed(0)
        costs.append(loss(step_of(TEACHER + shift, TEACHER, Head.REGRESSION)).item())

    assert costs == sorted(costs)
    assert costs[1] > 1e-3


def test_a_shift_along_all_lines_costs_its_square() -> None:
    torch.manual_seed(0)
    shifted = TEACHER + torch.tensor([3.0, 0.0, 0.0])

    cost = SlicedWasserstein(directions=2000)(step_of(shifted, TEACHER, Head.REGRESSION)).item()

    assert cost == pytest.approx(9.0, rel=0.1)


def test_more_places_than_are_compared_cost_no_more() -> None:
    many = noise(5000, 3)

    assert MeanDiscrepancy()(step_of(many.clone(), many)).item() == pytest.approx(0.0, abs=1e-6)


def test_over_the_batch_a_category_s_own_level_is_free() -> None:
    raised = TEACHER + torch.tensor([5.0, -2.0, 0.0])
    lifted = TEACHER + noise(40, 1, seed=1)  # a level for each sample, which a softmax over categories would not see

    assert BatchDivergence()(step_of(raised, TEACHER)).item() == pytest.approx(0.0, abs=1e-5)
    assert BatchDivergence()(step_of(lifted, TEACHER)).item() > 1e-2
