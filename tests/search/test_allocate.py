"""The cost model learns from measurements, and the allocator keeps limits and uses them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mobiledistill.prune import LayerShape
from mobiledistill.search import Choice, CostModel, Target, allocate, amounts


def _choice(name: str, scores: Tensor, scale: float = 1.0, **more: Any) -> Choice:
    """Channels whose loss is -log of the importance kept."""
    kept = (scores.sort(descending=True).values / scores.sum()).cumsum(0).clamp(max=1.0)
    return Choice(name, (math.inf, *(-scale * kept[:-1].log()).tolist(), 0.0), **more)


LAYERS = (
    LayerShape("a", 9 * 32, 9 * 32 * 400, 32, 1, "a", None),
    LayerShape("b", 9 * 32 * 64, 9 * 32 * 64 * 100, 64, 32, "b", "a"),
    LayerShape("c", 640, 640, 10, 64, None, "b"),
)
A, B = _choice("a", torch.ones(32)), _choice("b", torch.ones(64))
SIZE: Target = ("tflite", "size_bytes")
LATENCY: Target = ("tflite", "latency_ms")


def _predicted(cost: CostModel, target: Target, kept: dict[str, int]) -> float:
    return cost.predict(target, amounts(LAYERS, {"a": kept["a"] / 32, "b": kept["b"] / 64}))


@given(limit=st.integers(800, 25_000))
def test_limits_are_kept_and_used(limit: int) -> None:
    cost = CostModel(1.0)
    kept = allocate((A, B), LAYERS, cost, {SIZE: limit})
    if kept is None:
        assert _predicted(cost, SIZE, {"a": 2, "b": 2}) > limit
        return
    assert _predicted(cost, SIZE, kept) <= limit
    larger = [{**kept, name: kept[name] + 1} for name, most in (("a", 32), ("b", 64)) if kept[name] < most]
    assert all(_predicted(cost, SIZE, one) > limit for one in larger)


def test_several_limits_hold_at_once() -> None:
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(LAYERS), 1.0)
    kept = allocate((A, B), LAYERS, cost, {SIZE: 12_000, LATENCY: 0.4})
    assert kept is not None
    assert _predicted(cost, SIZE, kept) <= 12_000
    assert _predicted(cost, LATENCY, kept) <= 0.4


@pytest.mark.parametrize("limit", [0.2, 0.3, 0.5, 0.8])
def test_time_is_spent_on_whole_tiles(limit: float) -> None:
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(LAYERS), 1.0)
    kept = allocate((A, B), LAYERS, cost, {LATENCY: limit})
    assert kept is not None
    assert kept["a"] % 8 == kept["b"] % 8 == 0
    assert _predicted(cost, LATENCY, kept) <= limit
    larger = [{**kept, name: kept[name] + 8} for name, most in (("a", 32), ("b", 64)) if kept[name] < most]
    assert all(_predicted(cost, LATENCY, one) > limit for one in larger)


def test_heads_and_tiles_leave_together() -> None:
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(LAYERS), 1.0)
    kept = allocate((A, replace(B, step=4, least=4)), LAYERS, cost, {LATENCY: 0.4})
    assert kept is not None
    assert kept["b"] % 8 == 0


def test_bytes_are_not_spent_on_whole_tiles() -> None:
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(LAYERS), 1.0)
    kept = allocate((A, B), LAYERS, cost, {SIZE: 9_000, LATENCY: 1.0})  # time binds nothing
    assert kept is not None
    assert any(channels % 8 for channels in kept.values())
    larger = [{**kept, name: kept[name] + 1} for name in kept]
    assert all(_predicted(cost, SIZE, one) > 9_000 for one in larger)


def test_blocks_stay_whole() -> None:
    choices = (A, replace(B, step=16, least=16))
    for limit in (4_000, 9_000, 16_000):
        kept = allocate(choices, LAYERS, CostModel(1.0), {SIZE: limit})
        assert kept is not None
        assert kept["b"] % 16 == 0
        assert _predicted(CostModel(1.0), SIZE, kept) <= limit


def test_unimportant_channels_leave_first() -> None:
    idle = torch.cat([torch.full((8,), 1 / 8), torch.full((56,), 1e-9)])
    kept = allocate((A, _choice("b", idle)), LAYERS, CostModel(1.0), {SIZE: 9_000})
    even = allocate((A, B), LAYERS, CostModel(1.0), {SIZE: 9_000})
    assert kept is not None
    assert even is not None
    assert kept["b"] < even["b"]
    assert kept["a"] > even["a"]


def test_what_the_loss_is_sensitive_to_stays_wider() -> None:
    trunk = (A, _choice("b", torch.ones(64), scale=3.0))
    plain = allocate((A, B), LAYERS, CostModel(1.0), {SIZE: 6_000})
    shared = allocate(trunk, LAYERS, CostModel(1.0), {SIZE: 6_000})
    assert plain is not None
    assert shared is not None
    assert shared["b"] > plain["b"]


IN_BLOCK = replace(LAYERS[1], name="b.1", blocks=("block",))
BLOCKED = (LAYERS[0], LayerShape("t", 32 * 32 * 9, 32 * 32 * 9 * 100, 32, 32, "a", "a"), IN_BLOCK, LAYERS[2])


@pytest.mark.parametrize("is_left_out", [True, False])
def test_blocks_go_where_they_may(is_left_out: bool) -> None:
    choices = (A, replace(B, within=("block",)), Choice("block", (0.01, 0.0), least=0))
    kept = allocate(choices, BLOCKED, CostModel(1.0), {SIZE: 14_000}, without_blocks=is_left_out)
    assert kept is not None
    assert (kept["block"] == 0) is is_left_out
    shares = {"a": kept["a"] / 32, "b": kept["b"] / 64, "block": float(kept["block"])}
    assert CostModel(1.0).predict(SIZE, amounts(BLOCKED, shares)) <= 14_000
    if is_left_out:
        assert kept["a"] == 32  # what it frees comes back


def test_the_block_that_matters_least_goes_also_where_none_would_have_to() -> None:
    other = replace(LAYERS[1], name="d.1", writes="d", blocks=("other",))
    blocks = (Choice("block", (0.5, 0.0), least=0), Choice("other", (0.2, 0.0), least=0))
    choices = (A, replace(B, within=("block",)), replace(B, name="d", within=("other",)), *blocks)
    kept = allocate(choices, (*BLOCKED, other), CostModel(1.0), {SIZE: 1e9}, without_blocks=True)
    assert kept == {"a": 32, "b": 64, "d": 64, "block": 1, "other": 0}


def test_without_a_block_none_can_be_left_out() -> None:
    assert allocate((A, B), LAYERS, CostModel(1.0), {SIZE: 1e9}, without_blocks=True) is None


def test_no_exchange_of_a_step_is_left_that_would_lower_the_loss() -> None:
    random = torch.Generator().manual_seed(0)
    choices = (_choice("a", torch.rand(32, generator=random)), _choice("b", torch.rand(64, generator=random) ** 4))
    cost = CostModel(1.0)
    kept = allocate(choices, LAYERS, cost, {SIZE: 9_000})
    assert kept is not None
    losses = {choice.name: choice.losses for choice in choices}
    reached = sum(losses[name][channels] for name, channels in kept.items())
    best = min(
        losses["a"][a] + losses["b"][b]
        for a, b in itertools.product(range(2, 33), range(2, 65))
        if _predicted(cost, SIZE, {"a": a, "b": b}) <= 9_000
    )
    assert reached <= 1.02 * best


@pytest.mark.parametrize(("seed", "limit"), [(7, 0.4), (4, 0.5), (1, 0.7), (9, 0.7)])
def test_tiles_go_where_they_are_worth_least(seed: int, limit: float) -> None:
    random = torch.Generator().manual_seed(seed)
    widths = {"a": 16, "b": 32, "c": 32, "d": 64}
    choices = [
        _choice(
            name, torch.rand(width, generator=random) ** (1 + 3 * number), scale=float(torch.rand(1, generator=random))
        )
        for number, (name, width) in enumerate(widths.items())
    ]
    chain = zip(widths, widths.values(), (None, *widths), (1, *widths.values()), (480, 240, 120, 60), strict=False)
    layers = [LayerShape(n, w * r, w * r * positions, w, r, n, before) for n, w, before, r, positions in chain]
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(layers), 1.0)

    def loss(kept: dict[str, int]) -> float:
        return sum(choice.losses[kept[choice.name]] for choice in choices)

    def fits(kept: dict[str, int]) -> bool:
        shares = {name: count / widths[name] for name, count in kept.items()}
        return cost.predict(LATENCY, amounts(layers, shares)) <= limit

    plans = itertools.product(*(range(8, width + 1, 8) for width in widths.values()))
    every = [dict(zip(widths, plan, strict=True)) for plan in plans]
    kept = allocate(choices, layers, cost, {LATENCY: limit})
    assert kept is not None
    assert loss(kept) <= 1.05 * min(loss(one) for one in every if fits(one))


@pytest.mark.parametrize("share", [0.12, 0.2, 0.35])
def test_what_one_width_shares_in_a_file_is_no_trap(share: float) -> None:
    """Of blocks that matter alike none is starved because others are as wide as each other, which saves a few bytes."""
    trunk = 24
    layers = [LayerShape("t", 9 * trunk, 0, trunk, 1, "t", None)]
    for block in "abc":
        layers.append(LayerShape(f"{block}.first", 9 * trunk * trunk, 0, trunk, trunk, block, "t"))
        layers.append(LayerShape(f"{block}.second", 9 * trunk * trunk, 0, trunk, trunk, "t", block))
    cost = CostModel(1.0)
    choices = [_choice(name, torch.ones(trunk)) for name in "tabc"]
    kept = allocate(choices, layers, cost, {SIZE: share * cost.predict(SIZE, amounts(layers))})
    assert kept is not None
    inside = [kept[block] for block in "abc"]
    assert max(inside) <= 1.3 * min(inside)


def test_what_wide_groups_gave_up_too_much_comes_back() -> None:
    layer = LayerShape("a", 9 * 960, 9 * 960 * 400, 960, 1, "a", None)
    cost = CostModel(1.0)
    for limit in (6_000, 11_111, 16_001):
        kept = allocate((_choice("a", torch.ones(960)),), (layer,), cost, {SIZE: limit})
        assert kept is not None
        sizes = [cost.predict(SIZE, amounts([layer], {"a": (kept["a"] + more) / 960})) for more in (0, 1)]
        assert sizes[0] <= limit < sizes[1]


def test_nothing_is_cut_without_need() -> None:
    assert allocate((A, B), LAYERS, CostModel(1.0), {SIZE: 1e9}) == {"a": 32, "b": 64}


@given(fixed=st.floats(0, 5_000), slope=st.floats(0.5, 3))
def test_two_measurements_make_the_model_exact_on_a_line(fixed: float, slope: float) -> None:
    cost, truth = CostModel(1.0), CostModel(1.0)
    networks = [amounts(LAYERS, {"a": share, "b": share}) for share in (0.25, 0.5, 1.0)]
    for network in networks[::2]:
        cost.correct(SIZE, network, fixed + slope * truth.predict(SIZE, network))
    expected = fixed + slope * truth.predict(SIZE, networks[1])
    assert abs(cost.predict(SIZE, networks[1]) - expected) < 1e-6 * expected
