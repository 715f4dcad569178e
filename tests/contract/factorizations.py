"""What every factorization keeps: a class that the test of each method inherits."""

from __future__ import annotations

import copy
import doctest
import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters import FORMATS, Format, Program, convert, module_integers, suffix_of, verify
from mobiledistill import InputError
from mobiledistill.factorize import Factorization, FactorSite
from mobiledistill.prune import Run, channel_groups, layer_shapes
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.networks import Residual, settled

__all__ = ["FactorizationContract", "convolutions", "linears"]


class Block(nn.Module):
    """A Transformer's block behind an embedding: attention of 2 heads, a feed-forward part, a head."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.tokens = nn.Embedding(30, width)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 6)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        y = self.norm(x)
        query, key, value = (
            layer(y).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        shares = (query @ key.transpose(-1, -2)).softmax(-1)
        x = x + self.out((shares @ value).transpose(1, 2).flatten(2))
        logits: Tensor = self.head(x + self.feed_forward(x))
        return logits


class Bag(nn.Module):
    """An embedding model: rows of a table, averaged, and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 16, padding_idx=0)
        self.wide, self.head = nn.Linear(16, 36), nn.Linear(36, 4)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.wide(self.table(ids).mean(1)).relu())
        return logits


IMAGES = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 30, (8, 6), generator=torch.Generator().manual_seed(0))

NETS: Mapping[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "residual": (lambda: settled(Residual(16), IMAGES), IMAGES),
    "block": (Block, IDS),
    "bag": (Bag, IDS),
}
every_net = pytest.mark.parametrize("net", NETS)
SEARCH = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors], derandomize=True
)


class FactorizationContract:
    """A test of a method inherits this and says which method, and what it finds.

    Attributes:
        method: what is tested.
        finds: the paths that it can replace, by network.
        layers: a strategy that draws a layer and inputs for it.
        foreign: modules whose layer "0" the method has nothing for, by the end of the sentence that says so.
        cuttable: the groups of channels of the residual network at rank 1.
        exported: the network that is written in every format.
    """

    method: ClassVar[Factorization]
    finds: ClassVar[Mapping[str, list[str]]]
    layers: ClassVar[st.SearchStrategy[tuple[nn.Module, Tensor]]]
    foreign: ClassVar[Mapping[str, nn.Module]]
    cuttable: ClassVar[list[str]]
    exported: ClassVar[str] = "residual"

    @every_net
    def test_finds_what_it_can_replace(self, net: str) -> None:
        module, run, _ = built(net)

        assert [site.name for site in self.method.sites(module, run)] == self.finds[net]

    @every_net
    def test_the_smaller_network_equals_the_approximated_one(self, net: str) -> None:
        module, run, inputs = built(net)
        for ranks in (halved(self.method.sites(module, run)), {s.name: 1 for s in self.method.sites(module, run)}):
            smaller, same = self.method.apply(module, ranks), self.method.approximated(module, ranks)

            assert same.state_dict().keys() == module.state_dict().keys()
            assert_close(smaller(inputs), same(inputs))

    @every_net
    def test_the_full_rank_loses_nothing(self, net: str) -> None:
        module, run, inputs = built(net)
        full = {site.name: site.most for site in self.method.sites(module, run)}

        assert_close(self.method.apply(module, full)(inputs), module(inputs))

    @every_net
    def test_what_it_costs_is_what_there_is(self, net: str) -> None:
        module, run, _ = built(net)
        dense = {layer.name: layer for layer in layer_shapes(module, run, ())}
        for site in self.method.sites(module, run):
            kept = dense[site.name]
            assert (site.dense.weights, site.dense.channels, site.dense.macs) == (
                kept.weights,
                kept.channels,
                kept.macs,
            )
            for rank in {1, site.most // 2, site.most} - {0}:
                smaller = self.method.apply(module, {site.name: rank})
                parts = [s for s in layer_shapes(smaller, run, ()) if s.name.startswith(f"{site.name}.")]
                counted = sum(p.numel() for p in smaller.get_submodule(site.name).parameters() if p.dim() > 1)
                cost = site.cost(rank)
                assert cost.weights == counted == sum(part.weights for part in parts)
                assert cost.channels == sum(part.channels for part in parts)
                assert cost.macs == sum(part.macs for part in parts)
                assert site.worthwhile(rank) == (counted < kept.weights)

    @every_net
    def test_the_error_falls_and_is_the_energy_that_left(self, net: str) -> None:
        module, run, _ = built(net)
        for site in self.method.sites(module, run):
            weight = module.get_parameter(f"{site.name}.weight").detach()
            products = (self.method.approximated(module, {site.name: rank}) for rank in range(1, site.most + 1))
            errors = [float((made.get_parameter(f"{site.name}.weight").detach() - weight).norm()) for made in products]
            assert all(after <= before + 1e-5 for before, after in pairwise(errors))
            whole = float(weight.square().sum())
            for energy in (0.5, 0.9, 0.99):
                rank = self.method.rank_for(module, site, energy)
                assert errors[rank - 1] ** 2 <= (1 - energy) * whole * 1.001
                assert rank == 1 or errors[rank - 2] ** 2 > (1 - energy) * whole * 0.999
            assert self.method.rank_for(module, site, 1.0) == site.most or errors[-2] < 1e-3 * math.sqrt(whole)

    @every_net
    def test_importance_is_a_share_of_each_unit(self, net: str) -> None:
        module, run, inputs = built(net)
        sites = self.method.sites(module, run)
        for losses in (None, (module(inputs[k : k + 2]).square().mean() for k in (0, 2, 4))):
            scores = self.method.importance(module, sites, losses)

            assert {name: len(score) for name, score in scores.items()} == {site.name: site.most for site in sites}
            for score in scores.values():
                assert float(score.sum()) == pytest.approx(1.0, abs=1e-4)
                assert bool((score[1:] <= score[:-1] + 1e-7).all())
                assert float(score.min()) >= 0
        assert all(parameter.grad is None for parameter in module.parameters())

    def test_importance_listens_to_the_loss(self) -> None:
        module, run, inputs = built("block" if self.finds["block"] else "residual")
        sites = self.method.sites(module, run)
        alone = self.method.importance(module, sites)

        heard = self.method.importance(module, sites, (module(inputs).square().mean() for _ in range(1)))

        assert any(not torch.allclose(alone[name], heard[name], atol=1e-3) for name in alone)

    @every_net
    def test_budgets_of_weights_are_kept_and_used(self, net: str) -> None:
        module, run, _ = built(net)
        for site in self.method.sites(module, run):
            rank = site.largest_rank(site.dense.weights // 2)
            assert rank == 0 or site.cost(rank).weights <= site.dense.weights // 2
            assert rank == site.most or site.cost(rank + 1).weights > site.dense.weights // 2
            assert site.largest_rank(0) == 0

    @every_net
    def test_the_given_module_and_the_random_generator_stay(self, net: str) -> None:
        module, run, _ = built(net)
        module.train()
        before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
        sites = self.method.sites(module, run)
        ranks = halved(sites)

        smaller = self.method.apply(module, ranks)
        self.method.approximated(module, ranks)

        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        assert all(part.training for made in (module, smaller) for part in made.modules())
        paths = {path for path, _ in module.named_modules()}
        assert paths <= {path for path, _ in smaller.named_modules()}

    @every_net
    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_types_modes_and_frozen_weights_stay(self, net: str, dtype: torch.dtype) -> None:
        module, run, _ = built(net)
        ranks = halved(self.method.sites(module, run))
        frozen = module.to(dtype).eval().requires_grad_(False)

        smaller = self.method.apply(frozen, ranks)

        assert {parameter.dtype for parameter in smaller.parameters()} == {dtype}
        assert not any(part.training for part in smaller.modules())
        assert not any(parameter.requires_grad for parameter in smaller.parameters())

    @every_net
    def test_everything_in_it_learns(self, net: str) -> None:
        module, run, inputs = built(net)
        smaller = self.method.apply(module, halved(self.method.sites(module, run)))

        smaller(inputs).square().mean().backward()

        still = [name for name, value in smaller.named_parameters() if value.grad is None or not value.grad.any()]
        assert set(still) <= {"key.expand.bias", "key.bias"}  # attention does not change with a bias of all keys

    def test_channels_can_still_be_cut(self) -> None:
        module, run, _ = built("residual")
        smaller = self.method.apply(module, {site.name: 1 for site in self.method.sites(module, run)})

        assert [group.name for group in channel_groups(smaller, run)] == self.cuttable

    @SEARCH
    @given(data=st.data())
    def test_any_layer(self, data: st.DataObject) -> None:
        layer, inputs = data.draw(self.layers)
        module = nn.Sequential(layer)
        sites = self.method.sites(module, lambda module: (module(inputs),))
        if not sites:
            with pytest.raises(InputError, match="too small to gain"):
                self.method.apply(module, {"0": 1})
            return
        rank = data.draw(st.integers(1, sites[0].most))
        assert_close(
            self.method.apply(module, {"0": rank})(inputs), self.method.approximated(module, {"0": rank})(inputs)
        )
        assert_close(self.method.apply(module, {"0": sites[0].most})(inputs), module(inputs))

    @pytest.mark.parametrize("rank", [0, -1, 10_000, True, 1.0])
    def test_ranks_out_of_range_are_refused(self, rank: int) -> None:
        module, run, _ = built("residual" if self.finds["residual"] else "block")
        site = self.method.sites(module, run)[0]
        for act in (self.method.apply, self.method.approximated):
            with pytest.raises(
                InputError, match=rf"^Layer '{site.name}' has ranks 1 to {site.most}, but got {rank!r}\.$"
            ):
                act(module, {site.name: rank})
        with pytest.raises(InputError, match="has ranks 1 to"):
            site.cost(rank)

    @pytest.mark.parametrize("energy", [0.0, -1.0, 1.1, math.nan])
    def test_energies_out_of_range_are_refused(self, energy: float) -> None:
        module, run, _ = built("residual" if self.finds["residual"] else "block")
        with pytest.raises(InputError, match="energy must be above 0 and at most 1"):
            self.method.rank_for(module, self.method.sites(module, run)[0], energy)

    def test_layers_it_cannot_replace_are_named(self) -> None:
        for reason, module in self.foreign.items():
            message = f"^{type(self.method).__name__} cannot replace layer '0', which {reason}; sites"
            for act in (self.method.apply, self.method.approximated):
                with pytest.raises(InputError, match=message):
                    act(module, {"0": 1})
        module, _, _ = built("block")
        with pytest.raises(InputError, match="cannot replace layer 'tail', which is not there"):
            self.method.apply(module, {"tail": 1})

    def test_weights_that_are_no_numbers_are_refused(self) -> None:
        name, module, _ = self._first()
        with torch.no_grad():
            module.get_parameter(f"{name}.weight").view(-1)[0] = math.nan
        with pytest.raises(InputError, match=f"layer '{name}', which holds weights that are no finite numbers"):
            self.method.apply(module, {name: 1})

    def test_a_weight_computed_from_others_is_refused(self) -> None:
        name, module, _ = self._first()
        layer = module.get_submodule(name)
        weight = layer.weight
        del layer._parameters["weight"]
        layer.weight = weight * 1.0
        with pytest.raises(InputError, match=f"layer '{name}', which computes its weight from other parameters"):
            self.method.apply(module, {name: 1})

    def test_a_layer_that_is_held_twice_is_replaced_in_both_places(self) -> None:
        name, module, run = self._first()
        module.again = module.get_submodule(name)
        (first, *_) = self.method.sites(module, run)

        smaller = self.method.apply(module, {first.name: 1})

        assert smaller.again is smaller.get_submodule(first.name)
        with pytest.raises(InputError, match=f"layer 'again', which is the same as '{name}'"):
            self.method.apply(module, {"again": 1})

    def test_a_weight_that_the_module_reads_itself_is_left_alone(self) -> None:
        name, module, run = self._first()
        others = [site.name for site in self.method.sites(module, run)][1:]

        def reading(module: nn.Module) -> tuple[Tensor, ...]:
            return (*run(module), module.get_parameter(f"{name}.weight").sum())

        assert [site.name for site in self.method.sites(module, reading)] == others

    def test_a_layer_that_is_not_called_is_left_alone(self) -> None:
        name, module, run = self._first()
        module.idle = copy.deepcopy(module.get_submodule(name))

        assert "idle" not in [site.name for site in self.method.sites(module, run)]

    @pytest.mark.parametrize("format", FORMATS)
    def test_its_integers_reach_every_format(self, format: Format, tmp_path: Path) -> None:
        module, run, _ = built(self.exported)
        smaller = self.method.apply(module, halved(self.method.sites(module, run)))
        inputs = NETS[self.exported][1]
        prepared = prepare({"main": smaller})
        calibrate(prepared, {"main": {"x": inputs}}, 99.99)
        program = Program(freeze(prepared)["main"], {"x": inputs[:1]}, ("logits",))

        path = convert(program, tmp_path / f"net{suffix_of(format)}")

        parity = verify(path, program, {"x": inputs.numpy()})
        assert parity.integers_equal
        layers = [layer.name for layer in module_integers(program)]
        assert {
            name for name in self.finds[self.exported] if any(layer.startswith(f"{name}.") for layer in layers)
        } == set(self.finds[self.exported])

    def test_its_example_runs(self) -> None:
        kind = type(self.method)
        known = {"nn": nn, "torch": torch, kind.__name__: kind}
        (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs=known)
        result = doctest.DocTestRunner().run(example)
        assert (result.failed, result.attempted) == (0, 4)

    def test_a_weight_of_zeros_is_as_good_as_any(self) -> None:
        name, module, run = self._first()
        with torch.no_grad():
            module.get_parameter(f"{name}.weight").zero_()
        site, *_ = self.method.sites(module, run)

        scores = self.method.importance(module, [site], [module.get_parameter(f"{name}.weight").sum() * 0])[name]

        assert_close(scores, torch.full((site.most,), 1 / site.most))
        assert not self.method.approximated(module, {name: 1}).get_parameter(f"{name}.weight").any()

    def test_the_module_may_be_the_layer(self) -> None:
        name, module, _ = self._first()
        layer = module.get_submodule(name)

        smaller = self.method.apply(layer, {"": 1})

        assert smaller.state_dict().keys() == self.method.apply(nn.Sequential(layer), {"0": 1})[0].state_dict().keys()

    def test_methods_of_the_same_kind_are_equal(self) -> None:
        assert self.method == type(self.method)()
        assert repr(self.method) == f"{type(self.method).__name__}()"

    def _first(self) -> tuple[str, nn.Module, Run]:
        net = next(net for net, found in self.finds.items() if found)
        module, run, _ = built(net)
        return self.finds[net][0], module, run


def built(net: str) -> tuple[nn.Module, Run, Tensor]:
    """A network of the test's own, how to run it at batch 1, and a batch."""
    inputs = NETS[net][1]
    module = copy.deepcopy(_made(net))
    return module, lambda module: (module(inputs[:1]),), inputs


@cache
def _made(net: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETS[net][0]().eval()


def halved(sites: tuple[FactorSite, ...]) -> dict[str, int]:
    return {site.name: max(1, site.most // 2) for site in sites}


def assert_close(answer: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """Convolutions of any kernel, stride, padding and dilation, and images that they can read."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    same = draw(st.booleans())
    sizes = st.sampled_from([1, 3]) if same else st.integers(1, 4)  # torch warns of even ones
    kernel = draw(st.tuples(sizes, sizes))
    conv = nn.Conv2d(
        draw(st.integers(1, 12)),
        draw(st.integers(1, 12)),
        kernel,
        stride=1 if same else draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding="same" if same else draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )
    return conv, torch.randn(draw(st.integers(1, 2)), conv.in_channels, 9, 11)


@st.composite
def linears(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """Linear layers of any shape, and vectors, rows of them or images of them."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    linear = nn.Linear(draw(st.integers(1, 40)), draw(st.integers(1, 40)), bias=draw(st.booleans()))
    places = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    return linear, torch.randn(*places, linear.in_features)
