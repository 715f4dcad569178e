"""Which channels hang together, and that a cut network computes what the masked one does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobiledistill import InputError
from mobiledistill.prune import channel_groups, cut, importance, layer_shapes
from mobiledistill.prune._graph import _without_last_islands
from mobiledistill.quantize import KeepFloat
from tests.networks import Residual, settled


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.ones(1, 1, 16, 16)),)


def test_a_residual_sum_couples_its_branches() -> None:
    groups = {group.name: group for group in channel_groups(Residual(8), _run)}
    assert groups.keys() == {"stem.0", "first"}
    assert set(groups["stem.0"].writers) >= {"stem.0", "second", "depthwise"}
    assert "head" in groups["stem.0"].readers


def test_outputs_are_never_cut() -> None:
    assert all("head" not in group.writers for group in channel_groups(Residual(8), _run))


def test_layer_shapes_count_multiply_accumulates() -> None:
    shapes = {layer.name: layer for layer in layer_shapes(Residual(8), _run, channel_groups(Residual(8), _run))}
    assert shapes["stem.0"].macs == 8 * 1 * 3 * 3 * 8 * 8
    assert shapes["depthwise"].macs == 8 * 3 * 3 * 8 * 8
    assert shapes["depthwise"].reads is None
    assert shapes["head"].macs == 8 * 4


def test_layers_that_keep_their_width_are_listed_too() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(8, 12, 4, stride=2, padding=1, groups=2)
            self.attention = nn.MultiheadAttention(12, 2, kdim=6, vdim=6, batch_first=True)
            self.encoder = nn.TransformerEncoderLayer(12, 3, dim_feedforward=20, batch_first=True)

        def forward(self, x: Tensor, memory: Tensor) -> Tensor:
            asked = self.up(x).transpose(1, 2)
            found = self.attention(asked, key=memory, value=memory)[0]
            answer: Tensor = self.encoder(found)
            return answer

    x, memory = torch.ones(1, 8, 5), torch.ones(1, 7, 6)
    shapes = {layer.name: layer for layer in layer_shapes(Reader().eval(), lambda module: (module(x, memory),), ())}
    assert (shapes["up"].channels, shapes["up"].macs) == (12, 5 * 8 * 6 * 4)  # every input meets 6 outputs of its group
    assert shapes["attention.q_proj_weight"].macs == 12 * 12 * 10
    assert shapes["attention.k_proj_weight"].macs == shapes["attention.v_proj_weight"].macs == 12 * 6 * 7
    assert shapes["attention.out_proj"].macs == 12 * 12 * 10
    inside = shapes["encoder.self_attn.in_proj_weight"]
    assert (inside.weights, inside.channels, inside.macs) == (36 * 12, 36, 36 * 12 * 10)
    assert shapes["encoder.linear1"].macs == 12 * 20 * 10


def test_the_cut_network_equals_the_masked_one(images: Tensor) -> None:
    module = settled(Residual(8), images)
    groups = channel_groups(module, _run)
    scores = importance(module, _run, groups, (module(images).square().mean() for _ in range(1)))
    smaller = cut(module, _run, {"first": 5}, scores)
    gone = scores["first"].argsort(stable=True)[:3]
    with torch.no_grad():
        module.first.weight[gone] = 0  # type: ignore[operator, union-attr]
        module.second.weight[:, gone] = 0  # type: ignore[operator, union-attr]
    torch.testing.assert_close(smaller(images), module(images), rtol=1e-4, atol=1e-5)


def test_importance_finds_the_channel_that_does_nothing(images: Tensor) -> None:
    module = settled(Residual(8), images)
    with torch.no_grad():
        module.second.weight[:, 3] = 0  # type: ignore[operator, union-attr]
    groups = channel_groups(module, _run)
    scores = importance(module, _run, groups, (module(images).square().mean() for _ in range(1)))
    assert int(scores["first"].argmin()) == 3
    assert float(scores["first"].sum()) == pytest.approx(1.0)


def test_cutting_more_than_there_is_is_refused(images: Tensor) -> None:
    module = Residual(8)
    scores = importance(module, _run, channel_groups(module, _run), iter([module(images).mean()]))
    with pytest.raises(InputError, match="cannot keep 9"):
        cut(module, _run, {"first": 9}, scores)


class Attention(nn.Module):
    """Pre-norm attention with 4 heads of 8 and a feed-forward part, behind an embedding; heads counted by width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, width)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        y = self.norm(x)
        query, key, value = (
            layer(y).reshape(len(ids), ids.shape[1], -1, 8).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = torch.softmax(query @ key.transpose(-1, -2) / 8**0.5, -1) @ value
        x = x + self.out(mixed.transpose(1, 2).reshape(len(ids), ids.shape[1], -1))
        logits: Tensor = self.head(x + self.down(torch.relu(self.up(x))))
        return logits


def _read(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.arange(6)[None]),)


def test_heads_leave_as_a_whole() -> None:
    module = Attention().eval()
    ids = torch.randint(0, 20, (3, 6))
    groups = {group.name: group for group in channel_groups(module, _read)}
    assert {name: group.block for name, group in groups.items()} == {"embedding": 1, "query": 8, "up": 1}
    scores = importance(module, _read, groups.values(), (module(ids).square().mean() for _ in range(1)))
    smaller = cut(module, _read, {"query": 16}, scores)
    gone = scores["query"].argsort(stable=True)[:16]
    assert len({int(channel) // 8 for channel in gone}) == 2
    with torch.no_grad():
        module.out.weight[:, gone] = 0
    torch.testing.assert_close(smaller(ids), module(ids), rtol=1e-4, atol=1e-5)


def test_an_embedding_shrinks_with_the_width_it_writes() -> None:
    module = Attention()
    groups = channel_groups(module, _read)
    shapes = {layer.name: layer for layer in layer_shapes(module, _read, groups)}
    assert (shapes["embedding"].weights, shapes["embedding"].macs, shapes["embedding"].writes) == (640, 0, "embedding")
    scores = importance(module, _read, groups, (module(torch.arange(6)[None]).mean() for _ in range(1)))
    smaller = cut(module, _read, {"embedding": 20}, scores)
    assert smaller.embedding.weight.shape == (20, 20)  # type: ignore[union-attr]  # a tensor
    assert _read(smaller)[0].shape == (1, 6, 5)


class _Places(KeepFloat):
    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.flatten(1), maps.exp().flatten(1)], dim=1)


class _Dense(nn.Module):
    """A map of answers, laid out by a float island that is made in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.answer = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.answer(self.stem(image).relu())
        return maps


def test_a_float_island_at_the_end_is_not_followed() -> None:
    def run(module: nn.Module) -> tuple[Tensor, ...]:
        return (_Places()(module(torch.ones(1, 1, 48, 48))),)

    module = _Dense()
    groups = channel_groups(module, run)
    assert [(group.name, group.channels, group.readers) for group in groups] == [("stem", 8, ("answer",))]
    assert [tuple(end.shape) for end in _without_last_islands(module, run)(module)] == [(1, 2, 48, 48)]


def test_a_float_island_between_layers_is_followed() -> None:
    class Core(KeepFloat):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()

    class Between(_Dense):
        def forward(self, image: Tensor) -> Tensor:
            maps: Tensor = self.answer(Core()(self.stem(image)))
            return maps

    assert [group.name for group in channel_groups(Between(), _run)] == ["stem"]


def test_what_runs_twice_costs_twice() -> None:
    def twice(module: nn.Module) -> tuple[Tensor, ...]:
        return (*_run(module), *_run(module))

    once = {layer.name: layer.macs for layer in layer_shapes(Residual(8), _run, ())}
    assert {layer.name: layer.macs for layer in layer_shapes(Residual(8), twice, ())} == {
        name: 2 * macs for name, macs in once.items()
    }


def test_axes_folded_into_the_batch_count() -> None:
    """A layer over six patches multiplies six times."""
    shapes = layer_shapes(nn.Linear(16, 8), lambda layer: (layer(torch.zeros(6, 16)),), ())
    assert [layer.macs for layer in shapes] == [6 * 16 * 8]
