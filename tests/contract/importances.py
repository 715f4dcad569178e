"""What every criterion of importance keeps: a class that the test of each one inherits."""

from __future__ import annotations

import copy
import doctest
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

import mobiledistill as md
from mobiledistill.prune import ChannelGroup, Importance, Run, channel_groups, importance
from tests.networks import Residual, settled

__all__ = ["ImportanceContract"]

IMAGES = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 20, (8, 6), generator=torch.Generator().manual_seed(0))
Death = Literal["unread", "silent", "blank"]


class Reader(nn.Module):
    """Pre-norm attention of heads of 8 and a feed-forward part, behind an embedding; heads counted by width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, width)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        y = self.norm(x)
        query, key, value = (
            layer(y).unflatten(-1, (-1, 8)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = torch.softmax(query @ key.transpose(-1, -2) / 8**0.5, -1) @ value
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        logits: Tensor = self.head(x + self.down(torch.relu(self.up(x))))
        return logits


def _with_scales(module: nn.Module) -> nn.Module:
    """The module with norms that scale, as training leaves them."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module


NETS: Mapping[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "images": (lambda: settled(_with_scales(Residual(8)), IMAGES), IMAGES),
    "text": (Reader, IDS),
}
every_net = pytest.mark.parametrize("net", NETS)


class ImportanceContract:
    """A test of a criterion inherits this and says which one, and what it can see.

    Attributes:
        criterion: what is tested.
        sees: ways for a channel to be dead that put it last: nothing reads it (``unread``), it is always zero
            (``silent``), all weights to it and from it are zero (``blank``).
        feels_scale: whether a channel that is written twice as large, and read half as strongly, matters otherwise.
    """

    criterion: ClassVar[Importance]
    sees: ClassVar[frozenset[Death]]
    feels_scale: ClassVar[bool]

    @every_net
    def test_a_share_for_each_channel(self, net: str) -> None:
        module, groups, scores = self._scored(net)

        assert {name: len(score) for name, score in scores.items()} == {g.name: g.channels for g in groups}
        for group in groups:
            score = scores[group.name]
            assert float(score.min()) > 0
            assert float(score.sum()) == pytest.approx(1.0, abs=1e-5)
            for block in score.split(group.block):
                assert block.unique().numel() == 1
            assert score.unique().numel() > 1
        assert all(parameter.grad is None for parameter in module.parameters())

    @every_net
    def test_the_same_again(self, net: str) -> None:
        _, _, first = self._scored(net)
        _, _, again = self._scored(net)

        assert all(torch.equal(first[name], again[name]) for name in first)

    @every_net
    def test_the_module_stays(self, net: str) -> None:
        module, run, _ = built(net)
        before = copy.deepcopy(module.state_dict())

        self._scores(module, run, net)

        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        assert not any(part._forward_hooks for part in module.modules())

    @pytest.mark.parametrize("death", ["unread", "silent", "blank"])
    def test_a_dead_channel_is_the_last_one(self, death: Death) -> None:
        module, run, _ = built("text")
        with torch.no_grad():
            # At its other end it is as large as all others together.
            up, down = module.get_parameter("up.weight"), module.get_parameter("down.weight")
            up[11] = up.abs().sum(0) if death == "unread" else 0
            down[:, 11] = down.abs().sum(1) if death == "silent" else 0
            if death != "unread":
                module.get_parameter("up.bias")[11] = 0

        score = self._scores(module, run, "text")["up"]

        assert (int(score.argmin()) == 11) == (death in self.sees)

    def test_channels_that_swap_places_keep_their_scores(self) -> None:
        module, run, _ = built("images")
        order = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])
        swapped = copy.deepcopy(module)
        with torch.no_grad():
            swapped.first.weight.copy_(module.get_parameter("first.weight")[order])  # type: ignore[union-attr, operator]
            for name, value in swapped.get_submodule("late_norm").state_dict().items():
                if value.dim():
                    value.copy_(module.get_submodule("late_norm").state_dict()[name][order])
            swapped.second.weight.copy_(module.get_parameter("second.weight")[:, order])  # type: ignore[union-attr, operator]
        torch.testing.assert_close(swapped(IMAGES), module(IMAGES))

        before, after = self._scores(module, run, "images")["first"], self._scores(swapped, run, "images")["first"]

        torch.testing.assert_close(after, before[order], rtol=1e-3, atol=1e-5)

    @every_net
    def test_how_losses_are_scaled_does_not_matter(self, net: str) -> None:
        module, run, _ = built(net)
        as_they_are, scaled = self._scores(module, run, net), self._scores(module, run, net, times=1e-3)

        for name, score in as_they_are.items():
            torch.testing.assert_close(scaled[name], score, rtol=1e-3, atol=1e-6)

    def test_how_channels_are_scaled(self) -> None:
        module, run, _ = built("text")
        before = self._scores(module, run, "text")["up"]
        with torch.no_grad():
            module.get_parameter("up.weight")[5] *= 4
            module.get_parameter("up.bias")[5] *= 4
            module.get_parameter("down.weight")[:, 5] /= 4

        after = self._scores(module, run, "text")["up"]

        assert torch.allclose(after, before, rtol=1e-3, atol=1e-6) != self.feels_scale

    def test_losses_that_do_not_reach_a_layer(self) -> None:
        module, run, inputs = built("images")
        groups = channel_groups(module, run)

        for losses in ((module(inputs).sum() * 0 for _ in range(1)), (p.sum() for p in module.head.parameters())):
            scores = importance(module, run, groups, losses, self.criterion)
            assert all(bool(torch.isfinite(score).all()) and float(score.min()) > 0 for score in scores.values())
            assert all(float(score.sum()) == pytest.approx(1.0, abs=1e-5) for score in scores.values())

    def test_schedules_take_it(self) -> None:
        kind = type(self.criterion)

        assert md.Schedule(importance=kind()).importance == self.criterion
        assert repr(md.Schedule(importance=kind())) == repr(md.Schedule(importance=self.criterion))

    def test_its_example_runs(self) -> None:
        kind = type(self.criterion)
        (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs={kind.__name__: kind})

        result = doctest.DocTestRunner().run(example)

        assert result.failed == 0
        assert result.attempted > 0

    def _scored(self, net: str) -> tuple[nn.Module, tuple[ChannelGroup, ...], dict[str, Tensor]]:
        module, run, _ = built(net)
        return module, channel_groups(module, run), self._scores(module, run, net)

    def _scores(self, module: nn.Module, run: Run, net: str, times: float = 1.0) -> dict[str, Tensor]:
        inputs = NETS[net][1]

        def losses() -> Iterator[Tensor]:
            for part in inputs.split(4):
                yield module(part).square().mean() * times

        return importance(module, run, _groups(net), losses(), self.criterion)


@cache
def _groups(net: str) -> tuple[ChannelGroup, ...]:
    module, run, _ = built(net)
    return channel_groups(module, run)


def built(net: str) -> tuple[nn.Module, Run, Tensor]:
    """A network of the test's own, how to run it at batch 1, and a batch."""
    inputs = NETS[net][1]
    return copy.deepcopy(_made(net)), lambda module: (module(inputs[:1]),), inputs


@cache
def _made(net: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETS[net][0]().eval()
