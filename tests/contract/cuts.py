"""What cutting keeps, whatever is cut: a class that the test of each kind of network inherits.

The statement is the same for all of them: a cut module computes what the whole one does whose channels are masked where
they are read. Masked means, by what reads or joins the channels:

- a convolution or a linear layer reads zeros in their places;
- a recurrent layer hears nothing from these units of its own;
- a norm over the channels (``nn.LayerNorm``) takes its mean and variance over those that stay. No mask can make it do
  that, so here it is told to: of the width of a Transformer this, and not a masked input, is what a cut must equal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobiledistill import InputError
from mobiledistill.prune import (
    ChannelGroup,
    Run,
    Trials,
    channel_groups,
    cut,
    fixed_groups,
    importance,
    layer_shapes,
    residual_blocks,
    without_blocks,
)
from mobiledistill.search import amounts

__all__ = ["CutContract", "Group"]


@dataclass(frozen=True)
class Group:
    """What should be found.

    Attributes:
        channels: how many.
        writers: paths of the layers that write them.
        readers: where channel 0 lies in what each layer reads.
        spread: how many places each channel has there.
        block: neighbours that leave together.
        norms: paths of the norms over these channels.
    """

    channels: int
    writers: Sequence[str]
    readers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spread: int = 1
    block: int = 1
    norms: Sequence[str] = ()


class CutContract:
    """A test of a kind of network inherits this and says what should be found in it.

    Attributes:
        build: makes the network.
        inputs: a batch of what it reads.
        groups: what can be cut.
        fixed: what cannot, and the beginning of the reason.
        blocks: what can be left out.
        side_by_side: groups that one layer reads beside each other: the search counts it as if it read one of them.
    """

    build: ClassVar[Callable[[], nn.Module]]
    inputs: ClassVar[tuple[Tensor, ...]]
    groups: ClassVar[Mapping[str, Group]]
    fixed: ClassVar[Mapping[str, str]]
    blocks: ClassVar[frozenset[str]] = frozenset()
    side_by_side: ClassVar[frozenset[str]] = frozenset()

    def test_what_hangs_together(self) -> None:
        found = self._found()

        assert {group.name for group in found} == set(self.groups)
        for group in found:
            wanted = self.groups[group.name]
            assert (group.channels, group.block) == (wanted.channels, wanted.block)
            assert set(group.writers) == set(wanted.writers)
            readers = set(group.readers) - set(group.writers)
            assert readers == {path for path in wanted.readers if path not in group.writers}

    def test_what_stays_and_why(self) -> None:
        module, run = self._module()
        stays = {group.name: group.reason for group in fixed_groups(module, run)}

        assert stays.keys() == self.fixed.keys()
        for name, reason in self.fixed.items():
            assert stays[name].startswith(reason)

    def test_the_cut_module_equals_the_masked_one(self) -> None:
        module, run = self._module()
        for group in self._found():
            gone = self._gone(group)
            smaller = cut(module, run, {group.name: group.channels - len(gone)}, self._scores())
            with self._masked(module, {group.name: gone}) as masked:
                assert_close(self._answers(smaller), self._answers(masked))
                assert_differ(self._answers(module), self._answers(masked))

    def test_all_groups_at_once(self) -> None:
        module, run = self._module()
        gone = {group.name: self._gone(group) for group in self._found()}
        kept = {group.name: group.channels - len(gone[group.name]) for group in self._found()}
        smaller = cut(module, run, kept, self._scores())

        with self._masked(module, gone) as masked:
            assert_close(self._answers(smaller), self._answers(masked))
        # What was cut can be cut again, by the same names.
        again = {group.name: group.channels for group in channel_groups(smaller, run)}
        assert again == {name: width for name, width in kept.items() if width > self.groups[name].block}

    def test_what_a_cut_saves_is_what_the_search_counts(self) -> None:
        module, run = self._module()
        layers = layer_shapes(module, run, self._found())
        for group in (group for group in self._found() if group.name not in self.side_by_side):
            kept = group.channels - len(self._gone(group))
            smaller = cut(module, run, {group.name: kept}, self._scores())
            counted = amounts(layers, {group.name: kept / group.channels})
            assert round(counted.weights) == sum(layer.weights for layer in layer_shapes(smaller, run, ()))
            assert round(counted.macs) == sum(layer.macs for layer in layer_shapes(smaller, run, ()))

    def test_a_cut_for_a_moment(self) -> None:
        module, run = self._module()
        trials = Trials(module, run)
        for group in [*self._found(), *self._found()]:
            gone = self._gone(group)
            with trials.cut(group.name, gone) as smaller:
                expected = cut(module, run, {group.name: group.channels - len(gone)}, self._scores())
                assert_close(self._answers(smaller), self._answers(expected))
            assert_close(self._answers(trials._module), self._answers(module))

    def test_what_nothing_reads_is_the_least_important(self) -> None:
        module, _ = self._module()
        for group in self._found():
            if self.groups[group.name].norms:
                continue  # the norm goes on counting it
            with self._masked(module, {group.name: list(range(group.block))}) as masked:
                score = self._rated(masked)[group.name]
            assert int(score.argmin()) in range(group.block)

    def test_the_given_module_and_frozen_weights_stay(self) -> None:
        module, run = self._module()
        for number, parameter in enumerate(module.parameters()):
            parameter.requires_grad_(number % 2 == 0)
        flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
        before = copy.deepcopy(module.state_dict())
        kept = {group.name: group.channels - group.block for group in self._found()}

        smaller = cut(module, run, kept, self._scores())

        assert {name: parameter.requires_grad for name, parameter in smaller.named_parameters()} == flags
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        assert {name: parameter.requires_grad for name, parameter in module.named_parameters()} == flags

    def test_what_cannot_be_is_refused(self) -> None:
        module, run = self._module()
        for group in self._found():
            for kept in (0, group.channels + 1):
                with pytest.raises(InputError, match=rf"Group '{group.name}' has {group.channels} channels"):
                    cut(module, run, {group.name: kept}, self._scores())
        with pytest.raises(InputError, match=r"There is no group of channels 'nowhere'"):
            cut(module, run, {"nowhere": 1}, self._scores())

    def test_a_block_left_out_is_one_that_hands_on_what_it_is_given(self) -> None:
        module, run = self._module()
        assert set(residual_blocks(module, run)) == self.blocks
        for block in self.blocks:
            smaller = without_blocks(module, [block])
            handle = module.get_submodule(block).register_forward_hook(lambda _, given, __: given[0])
            assert_close(self._answers(smaller), self._answers(module))
            handle.remove()
            assert_differ(self._answers(smaller), self._answers(module))

    @contextmanager
    def _masked(self, module: nn.Module, gone: Mapping[str, Sequence[int]]) -> Iterator[nn.Module]:
        """The whole module, some of whose channels nothing reads."""
        masked = copy.deepcopy(module)
        with ExitStack() as hooks:
            for name, channels in gone.items():
                group = self.groups[name]
                for path, firsts in group.readers.items():
                    spread = [channel * group.spread + place for channel in channels for place in range(group.spread)]
                    places = [first + place for first in firsts for place in spread]
                    layer = masked.get_submodule(path)
                    if path in group.writers and isinstance(layer, nn.RNNBase | nn.RNNCellBase):
                        _forget(layer, channels)
                        continue
                    axis = 1 if isinstance(layer, nn.Conv1d | nn.Conv2d) else -1
                    hooks.callback(layer.register_forward_pre_hook(_zeros(places, axis)).remove)
                for path in group.norms:
                    kept = [channel for channel in range(group.channels) if channel not in set(channels)]
                    hooks.callback(masked.get_submodule(path).register_forward_hook(_norm_of(kept)).remove)
            yield masked

    def _gone(self, group: ChannelGroup) -> list[int]:
        """Half of the blocks, by what ``_scores`` says."""
        order = self._scores()[group.name].argsort(stable=True).tolist()
        return sorted(order[: group.block * (group.channels // group.block // 2)])

    def _answers(self, module: nn.Module) -> tuple[Tensor, ...]:
        with torch.no_grad():
            returned = module(*self.inputs)
        return returned if isinstance(returned, tuple) else (returned,)

    def _module(self) -> tuple[nn.Module, Run]:
        return copy.deepcopy(_built(type(self))), _run_of(self.inputs)

    def _found(self) -> tuple[ChannelGroup, ...]:
        return _groups(type(self))

    def _scores(self) -> dict[str, Tensor]:
        """What matters most has the lowest score, so that a cut changes something."""
        return {name: score.max() + score.min() - score for name, score in _scores_of(type(self)).items()}

    def _rated(self, module: nn.Module) -> dict[str, Tensor]:
        def losses() -> Iterator[Tensor]:
            for part in range(2):
                returned = module(*(given[part::2] for given in self.inputs))
                yield (returned if isinstance(returned, Tensor) else returned[0]).square().mean()

        return importance(module, _run_of(self.inputs), self._found(), losses())


@cache
def _built(case: type[CutContract]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = case.build()
        for part in module.modules():
            if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean)  # type: ignore[arg-type]  # it keeps one
        return module.eval()


@cache
def _groups(case: type[CutContract]) -> tuple[ChannelGroup, ...]:
    return channel_groups(copy.deepcopy(_built(case)), _run_of(case.inputs))


@cache
def _scores_of(case: type[CutContract]) -> dict[str, Tensor]:
    return case()._rated(copy.deepcopy(_built(case)))


def _run_of(inputs: tuple[Tensor, ...]) -> Run:
    def run(module: nn.Module) -> tuple[Tensor, ...]:
        returned = module(*(given[:1] for given in inputs))
        return returned if isinstance(returned, tuple) else (returned,)

    return run


def _zeros(places: Sequence[int], axis: int) -> Callable[..., Any]:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0].index_fill(axis, torch.tensor(places), 0.0), *given[1:])

    return hook


def _norm_of(kept: Sequence[int]) -> Callable[..., Any]:
    """What a norm answers that sees these channels alone; nothing in the places of the others."""

    def hook(norm: nn.LayerNorm, given: tuple[Tensor, ...], _: Tensor) -> Tensor:
        normal = F.layer_norm(given[0][..., kept], (len(kept),), norm.weight[kept], norm.bias[kept], norm.eps)
        return torch.zeros_like(given[0]).index_copy(-1, torch.tensor(kept), normal)

    return hook


@torch.no_grad()
def _forget(layer: nn.Module, units: Sequence[int]) -> None:
    """Lets a recurrent layer hear nothing of some of its own units: neither in time nor from layer to layer."""
    size = int(layer.hidden_size)  # type: ignore[arg-type]
    for name, weight in layer.named_parameters():
        if name.startswith("weight_hh"):
            weight[:, list(units)] = 0
        elif name.startswith("weight_ih_l") and not name.startswith("weight_ih_l0"):
            weight[:, [start + unit for start in range(0, weight.shape[1], size) for unit in units]] = 0


def assert_close(answers: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for answer, wanted in zip(answers, expected, strict=True):
        torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=1e-5)


def assert_differ(answers: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    pairs = zip(answers, others, strict=True)
    assert not all(torch.allclose(answer, other, rtol=1e-4, atol=1e-5) for answer, other in pairs)
