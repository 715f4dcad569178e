"""Members of families: what is proposed while little is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobiledistill._sources import FamilyMembers
from mobiledistill.search import CostModel, Target

LATENCY: Target = ("tflite", "latency_ms")


def family(width: int, depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), *(nn.Linear(width, width) for _ in range(depth)), nn.Linear(width, 4))


def run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.ones(1, 8)),)


def _members(asked: list[nn.Module]) -> FamilyMembers:
    def quality(member: nn.Module) -> float:
        asked.append(member)
        return float(len(list(member.parameters())))

    return FamilyMembers(family, None, run, quality, seed=0, bits=8)


def test_while_nothing_of_time_is_known_a_member_of_usual_width_is_tried() -> None:
    asked: list[nn.Module] = []
    members, cost = _members(asked), CostModel(1.0)
    first = members.propose(cost, {LATENCY: 0.1})
    assert first is not None
    assert first.width == 32
    assert not asked

    cost.correct(LATENCY, members.amounts(first), 0.05)
    second = members.propose(cost, {LATENCY: 0.1})
    assert second is not None
    assert len(asked) == 3  # one of each depth
    assert cost.predict(LATENCY, members.amounts(second)) <= 0.1


def test_without_limits_on_files_width_stays_usual() -> None:
    plan = _members([]).propose(CostModel(1.0), {})
    assert plan is not None
    assert plan.width == 32
