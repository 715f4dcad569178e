"""The cost model learns from measurements, and the allocator keeps limits and uses them."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from mobiledistill.prune import ChannelGroup, LayerShape
from mobiledistill.search import CostModel, Target, allocate, amounts

GROUPS = (ChannelGroup("a", 32, ("a",), ("b",)), ChannelGroup("b", 64, ("b",), ("c",)))
LAYERS = (
    LayerShape("a", 9 * 32, 9 * 32 * 400, 32, "a", None),
    LayerShape("b", 9 * 32 * 64, 9 * 32 * 64 * 100, 64, "b", "a"),
    LayerShape("c", 640, 640, 10, None, "b"),
)
EVEN = {"a": torch.full((32,), 1 / 32), "b": torch.full((64,), 1 / 64)}
SIZE: Target = ("tflite", "size_bytes")
LATENCY: Target = ("tflite", "latency_ms")


def _predicted(cost: CostModel, target: Target, kept: dict[str, int]) -> float:
    return cost.predict(target, amounts(LAYERS, {"a": kept["a"] / 32, "b": kept["b"] / 64}))


@given(limit=st.integers(800, 25_000))
def test_limits_are_kept_and_used(limit: int) -> None:
    cost = CostModel(1.0)
    kept = allocate(GROUPS, LAYERS, EVEN, cost, {SIZE: limit})
    if kept is None:
        assert _predicted(cost, SIZE, {"a": 2, "b": 2}) > limit
        return
    assert _predicted(cost, SIZE, kept) <= limit
    larger = [{**kept, name: kept[name] + 1} for name, most in (("a", 32), ("b", 64)) if kept[name] < most]
    assert all(_predicted(cost, SIZE, one) > limit for one in larger)


def test_several_limits_hold_at_once() -> None:
    cost = CostModel(1.0)
    cost.correct(LATENCY, amounts(LAYERS), 1.0)
    kept = allocate(GROUPS, LAYERS, EVEN, cost, {SIZE: 12_000, LATENCY: 0.4})
    assert kept is not None
    assert _predicted(cost, SIZE, kept) <= 12_000
    assert _predicted(cost, LATENCY, kept) <= 0.4


def test_blocks_stay_whole() -> None:
    groups = (GROUPS[0], replace(GROUPS[1], block=16))
    for limit in (4_000, 9_000, 16_000):
        kept = allocate(groups, LAYERS, EVEN, CostModel(1.0), {SIZE: limit})
        assert kept is not None
        assert kept["b"] % 16 == 0
        assert _predicted(CostModel(1.0), SIZE, kept) <= limit


def test_unimportant_channels_leave_first() -> None:
    idle = torch.cat([torch.full((8,), 1 / 8), torch.full((56,), 1e-9)])
    kept = allocate(GROUPS, LAYERS, {**EVEN, "b": idle}, CostModel(1.0), {SIZE: 9_000})
    even = allocate(GROUPS, LAYERS, EVEN, CostModel(1.0), {SIZE: 9_000})
    assert kept is not None
    assert even is not None
    assert kept["b"] < even["b"]
    assert kept["a"] > even["a"]


def test_a_trunk_that_many_layers_write_stays_wider() -> None:
    trunk = (GROUPS[0], ChannelGroup("b", 64, ("b", "d", "e"), ("c",)))
    plain = allocate(GROUPS, LAYERS, EVEN, CostModel(1.0), {SIZE: 6_000})
    shared = allocate(trunk, LAYERS, EVEN, CostModel(1.0), {SIZE: 6_000})
    assert plain is not None
    assert shared is not None
    assert shared["b"] > plain["b"]


def test_nothing_is_cut_without_need() -> None:
    assert allocate(GROUPS, LAYERS, EVEN, CostModel(1.0), {SIZE: 1e9}) == {"a": 32, "b": 64}


@given(fixed=st.floats(0, 5_000), slope=st.floats(0.5, 3))
def test_two_measurements_make_the_model_exact_on_a_line(fixed: float, slope: float) -> None:
    cost, truth = CostModel(1.0), CostModel(1.0)
    networks = [amounts(LAYERS, {"a": share, "b": share}) for share in (0.25, 0.5, 1.0)]
    for network in networks[::2]:
        cost.correct(SIZE, network, fixed + slope * truth.predict(SIZE, network))
    expected = fixed + slope * truth.predict(SIZE, networks[1])
    assert abs(cost.predict(SIZE, networks[1]) - expected) < 1e-6 * expected
