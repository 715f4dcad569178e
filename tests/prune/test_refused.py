"""What cannot be cut is left alone and named, weights that layers share stay shared, branches on data are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mobiledistill as md
from mobiledistill._cuts import Cuts
from mobiledistill.prune import (
    ChannelGroup,
    channel_groups,
    check_layers_called,
    cut,
    examined_groups,
    fixed_groups,
    importance,
)
from tests.networks import Stripes

IDS = torch.randint(0, 20, (4, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """A table whose weight is the head's as well."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.up, self.down = nn.Embedding(20, 16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        logits: Tensor = self.head(x + self.down(self.up(x).relu()))
        return logits


class Pair(nn.Module):
    """Two layers in a row with one weight: its rows are one's outputs and its columns the other's inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.wide, self.head = nn.Linear(8, 10), nn.Linear(10, 3)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.second(self.first(self.inputs(rows).relu()).relu()).relu()
        logits: Tensor = self.head(self.wide(x).relu())
        return logits


class Branches(nn.Module):
    """Which layer runs depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.loud, self.quiet = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, rows: Tensor) -> Tensor:
        branch = self.loud if rows.sum() > 0 else self.quiet
        logits: Tensor = self.head(branch(self.stem(rows).relu()))
        return logits


class Heads(nn.Module):
    """Attention that splits its width into a number of heads of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        query, key, value = (
            layer(x).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = (query @ key.mT).softmax(-1) @ value
        logits: Tensor = self.head(mixed.transpose(1, 2).flatten(2))
        return logits


class Library(nn.Module):
    """PyTorch's own attention, which knows its width and its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, 0.0, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.table(ids)))
        return logits


class Shuffled(nn.Module):
    """Channels that an operator deals out anew."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.head = nn.Conv2d(1, 16, 3), nn.Conv2d(4, 6, 1), nn.Linear(6, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.narrow(nn.functional.pixel_shuffle(self.wide(image), 2))
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits


def _on(inputs: Tensor) -> Callable[[nn.Module], tuple[Tensor, ...]]:
    return lambda module: (module(inputs[:1]),)


def _halved(module: nn.Module, inputs: Tensor) -> nn.Module:
    groups = channel_groups(module, _on(inputs))
    scores = importance(module, _on(inputs), groups, (module(inputs).square().mean() for _ in range(1)))
    return cut(module, _on(inputs), {group.name: group.channels // 2 for group in groups}, scores)


def test_a_shared_weight_stays_one() -> None:
    module = Tied().eval()
    smaller = _halved(module, IDS)

    assert smaller.head.weight is smaller.table.weight  # type: ignore[union-attr]
    assert sum(p.numel() for p in smaller.parameters()) == 20 * 8 + 8 * 12 + 12 + 12 * 8 + 8
    assert smaller(IDS).shape == (4, 6, 20)
    assert module.head.weight.shape == (20, 16)
    assert module.head.weight is module.table.weight


def test_a_weight_that_a_cut_would_part_is_left_alone() -> None:
    module = Pair().eval()
    stays = {group.name: group.reason for group in fixed_groups(module, _on(ROWS))}

    assert [group.name for group in channel_groups(module, _on(ROWS))] == ["wide"]
    assert {name for name, reason in stays.items() if "shares its weight" in reason} == {"inputs", "first", "second"}
    smaller = _halved(module, ROWS)
    assert smaller.second.weight is smaller.first.weight  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("build", "inputs", "reason", "names"),
    [
        (Heads, IDS, "the model fixes how they lie (heads, groups or a reshape)", {"query"}),
        (Library, IDS, "the model fixes how they lie (heads, groups or a reshape)", {"table"}),
        (Shuffled, torch.randn(2, 1, 8, 8), "what is coupled with them cannot be followed", {"wide"}),
    ],
)
def test_what_stays_is_named_with_its_reason(
    build: Callable[[], nn.Module], inputs: Tensor, reason: str, names: set[str]
) -> None:
    torch.manual_seed(0)
    stays = {group.name: group.reason for group in fixed_groups(build().eval(), _on(inputs))}
    assert {name for name, why in stays.items() if why.startswith(reason)} >= names


def test_a_plan_says_what_stays() -> None:
    torch.manual_seed(0)
    module = Pair().eval()

    cuts = _cuts(module, ROWS)

    told = "The channels of inputs, first, second stay: a layer that they belong to shares its weight with one"
    assert [note.startswith(told) for note in cuts.notes] == [True]
    assert not any(group.name in ("inputs", "first") for group in cuts._groups)


def test_layers_that_run_on_some_data_alone_are_refused() -> None:
    torch.manual_seed(0)
    quiet = -ROWS.abs()
    inputs = torch.cat([quiet[:8], -quiet[:8]])
    with pytest.raises(md.InputError, match=r"^Layer 'loud' answers on training batches but not on the example inputs"):
        check_layers_called(Branches().eval(), _on(inputs), _losses_on(inputs))


def test_compress_refuses_them_before_any_work(tmp_path: Path) -> None:
    class Striped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)

        def forward(self, image: Tensor) -> Tensor:
            layer = self.first if len(image) == 1 else self.second
            maps: Tensor = layer(image)
            return maps.mean((2, 3))

    with pytest.raises(md.InputError, match=r"^Layer 'second' answers on training batches"):
        md.compress(Striped(), Stripes(64, 32), md.Budget(size_bytes=10_000), formats=("onnx",), workdir=tmp_path)


def test_what_nobody_calls_does_no_harm() -> None:
    class Idle(Pair):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(8, 8)

    assert _halved(Idle().eval(), ROWS)(ROWS).shape == (16, 3)


def test_what_cannot_be_followed_at_all_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError("no idea\nwhat this is")

    module = Tied().eval()
    monkeypatch.setattr("mobiledistill.prune._groups.dependency_graph", fail)
    found = examined_groups(module, _on(IDS))
    assert [group.name for group in found] == ["up", "down", "head"]
    assert not any(isinstance(group, ChannelGroup) for group in found)
    reason = "what is coupled cannot be found out (TypeError: no idea)"
    assert {group.reason for group in found if not isinstance(group, ChannelGroup)} == {reason}
    assert torch.equal(cut(module, _on(IDS), {}, {})(IDS), module(IDS))
    assert importance(module, _on(IDS), (), iter(())) == {}


def _cuts(module: nn.Module, inputs: Tensor) -> Cuts:
    return Cuts(module, _on(inputs), _on(inputs), _losses_on(inputs), 8)


def _losses_on(inputs: Tensor) -> Callable[[nn.Module], Iterator[Tensor]]:
    return lambda module: (module(part).square().mean() for part in inputs.split(8))
