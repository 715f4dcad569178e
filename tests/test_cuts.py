"""Students cut out of a trained model: what plans are proposed, and that their students are what plans say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobiledistill._cuts import Cuts
from mobiledistill._plan import Plan
from mobiledistill.prune import Importance, Run, Taylor
from mobiledistill.search import CostModel, Target
from tests.networks import settled
from tests.prune.test_blocks import Blocks, run

IMAGES = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
SIZE: Target = ("tflite", "size_bytes")


class Reader(nn.Module):
    """An embedding, two feed-forward blocks, a head: what products can stand for."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.rows = nn.Embedding(200, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, width)) for _ in "ab")
        self.head = nn.Linear(width, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.rows(ids)
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x.mean(1))
        return logits


def _read(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.arange(6)[None]),)


IDS = torch.arange(192).reshape(32, 6)


def _cut(origin: nn.Module, run: Run, inputs: Tensor, criterion: Importance = Taylor()) -> Cuts:  # noqa: B008  (frozen)
    """Cuts whose loss is the distance from what the origin answers."""
    with torch.no_grad():
        wanted = origin.eval()(inputs)

    def losses(module: nn.Module) -> Iterator[Tensor]:
        for given, answers in zip(inputs.split(8), wanted.split(8), strict=True):
            # A little beside it: exactly at the origin's answers nothing would have a gradient.
            yield (module(given) - answers - 0.01).square().mean() / wanted.var()

    return Cuts(origin, run, run, losses, 8, criterion=criterion)


@pytest.fixture(scope="module")
def cuts() -> Cuts:
    torch.manual_seed(0)
    return _cut(settled(Blocks(16), IMAGES), run, IMAGES)


@pytest.fixture(scope="module")
def reader() -> Cuts:
    torch.manual_seed(0)
    module = Reader()
    with torch.no_grad():  # a table of rank 6 and some noise
        left, right = torch.randn(200, 6), torch.randn(6, 48)
        module.rows.weight.copy_(left @ right + 0.01 * torch.randn(200, 48))
    return _cut(module, _read, IDS)


def _weights(module: nn.Module) -> int:
    """Of convolutions, linear layers and tables, biases aside."""
    kinds = (nn.Conv2d, nn.Linear, nn.Embedding)
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_students_hold_what_their_plans_say(cuts: Cuts, reader: Cuts, share: float) -> None:
    for source, ask in ((cuts, run), (reader, _read)):
        cost = CostModel(1.0)
        limit = share * cost.predict(SIZE, source.uncut())
        plan = source.propose(cost, {SIZE: limit})
        assert plan is not None
        student = source.build(plan)
        assert cost.predict(SIZE, source.amounts(plan)) <= limit
        assert _weights(student) == round(source.amounts(plan).weights)
        assert ask(student)[0].shape == ask(source._origin)[0].shape
        assert Plan.from_json(plan.to_json()) == plan


def test_a_block_that_does_nothing_goes_first(cuts: Cuts) -> None:
    module = settled(Blocks(16), IMAGES)
    with torch.no_grad():
        module.blocks[1].second.weight.zero_()  # type: ignore[union-attr, operator, index]
    source = _cut(module, run, IMAGES)
    cost = CostModel(1.0)
    limits = {SIZE: 0.7 * cost.predict(SIZE, source.uncut())}
    whole, plan = (source.propose(cost, limits, way) for way in range(source.ways))
    assert whole is not None
    assert not whole.dropped
    assert plan is not None
    assert plan.dropped == ("blocks.1",)
    assert not plan.cuts_nothing
    assert not any(name.startswith("blocks.1.") for name in plan.channels)
    layers = {name: after for name, _, after in source.layers(plan)}
    assert layers["blocks.1.first"] == layers["blocks.1.second"] == 0


def test_a_table_of_low_rank_becomes_a_product(reader: Cuts) -> None:
    cost = CostModel(1.0)
    plan = reader.propose(cost, {SIZE: 0.75 * cost.predict(SIZE, reader.uncut())})
    assert plan is not None
    assert 6 <= plan.ranks["rows"] < 40
    assert plan.channels["rows"] == 48
    ids = torch.arange(190).reshape(-1, 5)
    student = reader.build(plan)
    with torch.no_grad():
        error = (student(ids) - reader._origin(ids)).abs().max()
        assert float(error / reader._origin(ids).abs().max()) < 0.2


def test_steps_lead_to_the_plan(cuts: Cuts, reader: Cuts) -> None:
    for source in (cuts, reader):
        cost = CostModel(1.0)
        plan = source.propose(cost, {SIZE: 0.3 * cost.predict(SIZE, source.uncut())})
        assert plan is not None
        first, *rest = source.steps(plan, 3)
        student = source.build(first)
        sizes = [_weights(student)]
        for step in rest:
            student = source.shrink(student, step)
            sizes.append(_weights(student))
        assert rest[-1] == plan
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-1] == round(source.amounts(plan).weights)
        assert all(math.isfinite(float(loss.detach())) for loss in source._losses(student))


class _FirstOnes(Importance):
    """The earlier a channel, the more it matters."""

    def rate(self, module: nn.Module, groups: Mapping[str, Any], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        return {name: torch.arange(len(items[0].idxs), 0, -1.0) for name, items in groups.items()}


def test_the_criterion_that_was_chosen_decides() -> None:
    module = settled(Blocks(16), IMAGES)
    source = _cut(module, run, IMAGES, _FirstOnes())
    whole = {**source._total, "stem": 12}
    student = source.build(source._plan(whole))
    smaller = source.shrink(student, source._plan({**whole, "stem": 5}))
    for made, kept in ((student, 12), (smaller, 5)):
        assert torch.equal(made.get_parameter("stem.weight"), module.get_parameter("stem.weight")[:kept])


def test_a_frozen_teacher_has_students_that_learn() -> None:
    module = settled(Blocks(16), IMAGES).requires_grad_(False)
    source = _cut(module, run, IMAGES)
    student = source.build(source.narrow(2))
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_trunk_named_after_a_dropped_block_is_still_cut() -> None:
    class Late(Blocks):
        """The same, but the blocks are listed before the stem, so the trunk bears the name of a block's layer."""

        def __init__(self) -> None:
            super().__init__(16)
            self.stem = self._modules.pop("stem")  # type: ignore[assignment]

    module = settled(Late(), IMAGES)
    source = _cut(module, run, IMAGES)
    trunk = next(name for name in source._total if name.startswith("blocks.0.second"))
    plan = source._plan({**source._total, trunk: 8, "blocks.0": 0})
    first, last = source.steps(plan, 2)
    student = source.shrink(source.build(first), last)
    assert student.stem.weight.shape[0] == 8  # type: ignore[union-attr, index]
    assert student(IMAGES).shape == (16, 4)


def _in_8_or_4_bits(module: nn.Module) -> Cuts:
    torch.manual_seed(0)
    source = _cut(module, run, IMAGES)
    return Cuts(source._origin, run, run, source._losses, 8, half_bits=True)


def test_bits_go_before_channels_where_they_do_less_harm() -> None:
    module = settled(Blocks(16), IMAGES)
    source = _in_8_or_4_bits(module)
    cost = CostModel(1.0)
    plan = source.propose(cost, {SIZE: 0.75 * cost.predict(SIZE, source.uncut())})
    assert plan is not None
    assert set(plan.layer_bits.values()) == {4}
    assert cost.predict(SIZE, source.amounts(plan)) <= 0.75 * cost.predict(SIZE, source.uncut())
    halves = sum(count for name, _, count in source.layers(plan) if name in plan.layer_bits)
    assert source.amounts(plan).weights == _weights(source.build(plan)) - halves / 2
    assert Plan.from_json(plan.to_json()) == plan
    assert not plan.cuts_nothing
    assert all(
        torch.equal(one, other) for one, other in zip(module.parameters(), source._origin.parameters(), strict=True)
    )


def test_a_layer_that_few_bits_would_spoil_keeps_8() -> None:
    module = settled(Blocks(16), IMAGES)
    weight = module.get_submodule("blocks.0.second").get_parameter("weight")
    with torch.no_grad():  # one weight of each channel far beyond the others, which 15 steps then round to nothing
        weight[:, 0, 0, 0] = 40 * weight.abs().amax(dim=(1, 2, 3))
        module.get_submodule("blocks.0.first").get_parameter("weight")[0].zero_()
    source = _in_8_or_4_bits(module)
    rises = {name: rise[1] for name, rise in source.sensitivity.rises.items() if name.startswith("bits of ")}
    assert len(rises) > 3
    assert max(rises, key=rises.__getitem__) == "bits of blocks.0.second"
    cost = CostModel(1.0)
    plan = source.propose(cost, {SIZE: 0.85 * cost.predict(SIZE, source.uncut())})
    assert plan is not None
    assert plan.layer_bits
    assert "blocks.0.second" not in plan.layer_bits


class Heard(nn.Module):
    """A recurrent layer over rows of an image, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.units, self.head = nn.LSTM(16, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, image: Tensor) -> Tensor:
        states, _ = self.units(image[:, 0])
        logits: Tensor = self.head(states[:, -1])
        return logits


def test_bits_of_recurrent_layers_are_no_choice() -> None:
    choices = _in_8_or_4_bits(Heard()).sensitivity.rises
    assert [name for name in choices if name.startswith("bits of ")] == ["bits of head"]


def test_weights_that_others_make_are_cut_as_plain_ones() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 4))
    torch.nn.utils.parametrizations.weight_norm(module[1])
    source = _cut(module, run, IMAGES)
    cost = CostModel(1.0)
    plan = source.propose(cost, {SIZE: 0.5 * cost.predict(SIZE, source.uncut())})
    assert plan is not None
    assert source.build(plan).get_parameter("1.weight").shape == (plan.channels["1"], 256)
    assert torch.nn.utils.parametrize.is_parametrized(module[1])  # the one that was given


def test_products_give_way_to_layers_where_those_are_smaller() -> None:
    """Weights of low rank make products of all layers at first, each of which is an operator more."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    with torch.no_grad():
        for layer in (module[1], module[3]):
            weight = layer.get_parameter("weight")
            weight.copy_(torch.randn(128, 6) @ torch.randn(6, weight.shape[1]) / 20)
    source = _cut(module, run, IMAGES)
    cost = CostModel(1.0)
    least = cost.predict(SIZE, source.amounts(source.narrow(1)))
    plan = source.propose(cost, {SIZE: 1.05 * least})
    assert plan is not None
    assert cost.predict(SIZE, source.amounts(plan)) <= 1.05 * least
