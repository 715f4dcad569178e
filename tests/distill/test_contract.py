"""What every distillation loss keeps, whichever family it is of."""

from __future__ import annotations

import pytest
import torch

from mobiledistill import Head, InputError
from mobiledistill.distill import (
    Angles,
    AnnealedTargets,
    BatchDivergence,
    Correlations,
    Distances,
    Loss,
    MeanDiscrepancy,
    Similarities,
    SlicedWasserstein,
    SoftTargets,
    SquaredLogits,
    StandardizedTargets,
)
from tests.distill._steps import noise, step_of, told

LOSSES: list[Loss] = [
    Angles(),
    AnnealedTargets(hard=0.0, soft=1.0),
    BatchDivergence(),
    Correlations(),
    Distances(),
    MeanDiscrepancy(),
    Similarities(),
    SlicedWasserstein(),
    SoftTargets(hard=0.0, soft=1.0),
    SquaredLogits(),
    StandardizedTargets(),
]
NAMES = [type(loss).__name__ for loss in LOSSES]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=NAMES)

BLIND = {
    ("BatchDivergence", Head.REGRESSION),
    ("StandardizedTargets", Head.REGRESSION),
    ("StandardizedTargets", Head.BINARY),
}
"""Losses that have nothing to say of a head, as their docstrings tell."""


@every_loss
@pytest.mark.parametrize("head", list(Head))
def test_the_teachers_own_answer_costs_nothing(loss: Loss, head: Head) -> None:
    logits = noise(6, 5)

    assert told(loss, step_of(logits.clone(), logits, head)).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "head"),
    [
        pytest.param(loss, head, id=f"{type(loss).__name__}-{head.value}")
        for loss in LOSSES
        for head in (Head.CATEGORICAL, Head.BINARY, Head.REGRESSION)
        if (type(loss).__name__, head) not in BLIND
    ],
)
def test_following_its_gradient_leads_towards_the_teacher(loss: Loss, head: Head) -> None:
    student, teacher = noise(8, 5).requires_grad_(), noise(8, 5, seed=1)
    before = told(loss, step_of(student, teacher, head))
    before.backward()
    assert student.grad is not None
    assert before.item() > 1e-4

    stepped = student.detach() - 0.05 * student.grad / student.grad.norm()

    assert told(loss, step_of(stepped, teacher, head)).item() < before.item()


@every_loss
def test_what_it_cannot_speak_of_costs_nothing_and_breaks_nothing(loss: Loss) -> None:
    for head in Head:
        student = noise(6, 5).requires_grad_()
        value = told(loss, step_of(student, noise(6, 5, seed=1), head))
        assert value.shape == ()
        if head is Head.STATE or (type(loss).__name__, head) in BLIND:
            assert value.item() == 0
        value.backward()


@every_loss
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [1e-3, 30.0])
def test_small_batches_and_far_answers_stay_finite(loss: Loss, batch: int, size: float) -> None:
    student = (size * noise(batch, 5)).requires_grad_()

    value = told(loss, step_of(student, size * noise(batch, 5, seed=1)))
    value.backward()

    assert torch.isfinite(value)
    assert student.grad is None or torch.isfinite(student.grad).all()


@every_loss
def test_answers_that_are_all_alike_stay_finite(loss: Loss) -> None:
    student = torch.zeros(4, 5, requires_grad=True)

    value = told(loss, step_of(student, torch.zeros(4, 5)))
    value.backward()

    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert student.grad is None or torch.isfinite(student.grad).all()


@every_loss
@pytest.mark.parametrize("head", [Head.SEQUENCE, Head.CTC, Head.REGRESSION, Head.BINARY])
def test_places_that_the_mask_leaves_out_do_not_count(loss: Loss, head: Head) -> None:
    student, teacher = noise(4, 6, 3), noise(4, 6, 3, seed=1)
    mask = (noise(4, 6, seed=2) > 0).long()
    elsewhere = 10 * noise(4, 6, 3, seed=3) * (1 - mask).unsqueeze(-1)

    kept = told(loss, step_of(student, teacher, head, mask))

    assert told(loss, step_of(student + elsewhere, teacher, head, mask)).item() == pytest.approx(kept.item(), rel=1e-4)


@pytest.mark.parametrize("loss", [SoftTargets(hard=0.0, soft=1.0), SquaredLogits(), StandardizedTargets()])
def test_a_place_of_a_third_counts_a_third(loss: Loss) -> None:
    student, teacher = noise(1, 2, 3), noise(1, 2, 3, seed=1)
    first, second = (
        told(loss, step_of(student[:, [place]], teacher[:, [place]], Head.SEQUENCE)).item() for place in range(2)
    )

    weighted = told(loss, step_of(student, teacher, Head.SEQUENCE, torch.tensor([[1.0, 1 / 3]])))

    assert weighted.item() == pytest.approx((first + second / 3) / (1 + 1 / 3), rel=1e-5)


@every_loss
def test_a_batch_of_which_nothing_counts_costs_nothing(loss: Loss) -> None:
    student = noise(2, 3, 4).requires_grad_()

    value = told(loss, step_of(student, noise(2, 3, 4, seed=1), Head.SEQUENCE, torch.zeros(2, 3)))
    value.backward()

    assert value.item() == pytest.approx(0.0, abs=1e-6)


@every_loss
def test_it_adds_and_scales(loss: Loss) -> None:
    step = step_of(noise(6, 5), noise(6, 5, seed=1))
    alone = told(loss, step).item()

    assert told(2 * loss, step).item() == pytest.approx(2 * alone)
    assert told(loss + SoftTargets(hard=0.0, soft=1.0) * 0.0, step).item() == pytest.approx(alone)


def test_repr_tells_them_apart() -> None:
    assert len({repr(loss) for loss in LOSSES}) == len(LOSSES)
    assert repr(Correlations(temperature=2.0)) != repr(Correlations(temperature=3.0))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Correlations, {"temperature": 0.0}),
        (Correlations, {"between": -1.0}),
        (Correlations, {"between": 0.0, "within": 0.0}),
        (BatchDivergence, {"temperature": -1.0}),
        (SlicedWasserstein, {"directions": 0}),
        (StandardizedTargets, {"temperature": 0.0}),
    ],
)
def test_arguments_out_of_range_are_refused(kind: type[Loss], arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        kind(**arguments)
