"""Members of families: what is proposed while little is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobiledistill._sources import FamilyMembers
from mobiledistill.search import CostModel, Target

LATENCY: Target = ("tflite", "latency_ms")
SIZE: Target = ("tflite", "size_bytes")


def family(width: int, depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), *(nn.Linear(width, width) for _ in range(depth)), nn.Linear(width, 4))


def run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.ones(1, 8)),)


def _members() -> FamilyMembers:
    return FamilyMembers(family, None, run, seed=0, bits=8)


def test_while_nothing_of_time_is_known_a_member_of_usual_width_is_tried() -> None:
    members, cost = _members(), CostModel(1.0)
    first = members.propose(cost, {LATENCY: 0.1})
    assert first is not None
    assert first.width == 32

    cost.correct(LATENCY, members.amounts(first), 0.05)
    second = members.propose(cost, {LATENCY: 0.1})
    assert second is not None
    assert second.width is not None
    assert second.width > 32
    assert cost.predict(LATENCY, members.amounts(second)) <= 0.1


def test_each_way_is_a_depth_and_the_deeper_the_narrower() -> None:
    members, cost = _members(), CostModel(1.0)
    plans = [members.propose(cost, {SIZE: 20_000}, way) for way in range(members.ways)]
    shapes = [(plan.depth, plan.width) for plan in plans if plan is not None]
    assert [depth for depth, _ in shapes] == [1, 2, 3]
    widths = [width or 0 for _, width in shapes]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_without_limits_on_files_width_stays_usual() -> None:
    plan = _members().propose(CostModel(1.0), {})
    assert plan is not None
    assert plan.width == 32
