"""Soft targets: the paper's gradients, and how losses add up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobiledistill import Head, InputError, Output
from mobiledistill.distill import HardTargets, Loss, SoftTargets, Step
from tests.distill._steps import told


def _step(student: Tensor, teacher: Tensor, head: Head = Head.CATEGORICAL) -> Step:
    outputs = {"logits": Output((1, *student.shape[1:]), head)}
    return Step({"logits": student}, {"logits": teacher}, outputs, hard=torch.tensor(2.0))


@pytest.mark.parametrize("head", list(Head))
def test_the_teachers_own_answer_costs_nothing(head: Head) -> None:
    logits = torch.randn(5, 3)
    assert float(SoftTargets(hard=0.0, soft=1.0)(_step(logits, logits.clone(), head))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_gradient_is_the_papers(temperature: float) -> None:
    student, teacher = torch.randn(1, 6, requires_grad=True), torch.randn(1, 6)
    SoftTargets(temperature, hard=0.0, soft=1.0)(_step(student, teacher)).backward()
    expected = temperature * (torch.softmax(student / temperature, -1) - torch.softmax(teacher / temperature, -1))
    torch.testing.assert_close(student.grad, expected.detach())


@pytest.mark.parametrize("head", [Head.SEQUENCE, Head.CTC, Head.REGRESSION, Head.BINARY])
def test_places_that_the_mask_leaves_out_do_not_count(head: Head) -> None:
    student, teacher = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    loss = SoftTargets(hard=0.0, soft=1.0)

    def of(student: Tensor, teacher: Tensor, masked: bool) -> float:
        outputs = {"logits": Output((1, 4, 3), head, mask="counts" if masked else None)}
        step = Step({"logits": student}, {"logits": teacher}, outputs, torch.tensor(0.0), {"counts": mask})
        return float(loss(step))

    kept = mask.bool()
    alone = of(student[kept], teacher[kept], masked=False)  # the three places that count, as a batch of their own
    assert of(student, teacher, masked=True) == pytest.approx(alone, rel=1e-5)
    assert of(student, teacher, masked=False) != pytest.approx(alone, rel=1e-3)


def test_states_are_not_compared() -> None:
    step = _step(torch.randn(5, 3), torch.randn(5, 3), Head.STATE)
    assert float(SoftTargets(hard=0.5)(step)) == pytest.approx(1.0)


def test_losses_add_and_scale() -> None:
    loss: Loss = 0.5 * HardTargets() + HardTargets() * 2
    assert float(told(loss, _step(torch.zeros(1, 2), torch.zeros(1, 2)))) == pytest.approx(5.0)


def test_repr_tells_losses_apart() -> None:
    assert repr(SoftTargets(2.0) + HardTargets()) != repr(SoftTargets(3.0) + HardTargets())


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"hard": -1.0}, {"hard": 0.0, "soft": 0.0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SoftTargets(**arguments)
