"""Which blocks can be left out, and that a module without them is the one in which they do nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobiledistill import InputError
from mobiledistill.prune import channel_groups, cut, importance, residual_blocks, without_blocks
from tests.networks import settled

IMAGES = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A residual block without a ReLU behind the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.second(torch.relu(self.norm(self.first(maps))))
        return maps + added


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.excite(self.squeeze(maps.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Plain(nn.Module):
    """As wide as what it is given, with no way past it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        answer: Tensor = self.layers(maps)
        return answer


class Blocks(nn.Module):
    """Residual blocks of one width behind a stem, a gate, a part with no way past it, a head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, 1)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.gate, self.plain = Gate(width), Plain(width)
        self.head = nn.Linear(width, 4)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.plain(self.gate(self.blocks(self.stem(image))))
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits


def run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.ones(1, 1, 16, 16)),)


def test_blocks_with_a_way_past_them_are_found() -> None:
    assert set(residual_blocks(Blocks(), run)) == {"blocks", "blocks.0", "blocks.1", "gate"}


@pytest.mark.parametrize("norm_first", [False, True])
def test_layers_of_a_transformer_are_found(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=norm_first)
    reader = nn.Sequential(nn.Embedding(20, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    found = residual_blocks(reader, lambda module: (module(torch.arange(6)[None]),))
    assert {"1.layers.0", "1.layers.1"} <= set(found)
    assert not any("self_attn" in path or "linear" in path for path in found)


def test_a_recurrent_layer_is_no_way_past_itself() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(6, 6)

        def forward(self, frames: Tensor) -> Tensor:
            answers: Tensor = self.layer(frames)[0]
            return answers

    class Past(Through):
        def forward(self, frames: Tensor) -> Tensor:
            return frames + super().forward(frames)

    both = nn.Sequential(Through(), Past())
    assert residual_blocks(both, lambda module: (module(torch.ones(5, 1, 6)),)) == ("1",)


def test_a_module_without_a_block_is_the_one_in_which_it_does_nothing() -> None:
    module = settled(Blocks(), IMAGES)
    smaller = without_blocks(module, ["blocks.1"])
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in module.parameters())
    with torch.no_grad():
        module.blocks[1].second.weight.zero_()  # type: ignore[union-attr, operator, index]
    torch.testing.assert_close(smaller(IMAGES), module(IMAGES))


def test_a_block_within_a_block_goes_with_it() -> None:
    module = Blocks().eval()
    both = without_blocks(module, ["blocks.1", "blocks"])
    torch.testing.assert_close(both(IMAGES), without_blocks(module, ["blocks"])(IMAGES))


def test_channels_can_be_cut_where_blocks_are_left_out() -> None:
    module = settled(Blocks(), IMAGES)
    smaller = without_blocks(module, ["blocks.0", "gate"])
    groups = {group.name: group for group in channel_groups(smaller, run)}
    assert "stem" in groups
    assert not any(name.startswith("blocks.0") for name in groups)
    scores = importance(smaller, run, groups.values(), (smaller(IMAGES).square().mean() for _ in range(1)))
    assert cut(smaller, run, {"stem": 3}, scores)(IMAGES).shape == (8, 4)


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no block 'blocks\.7'"):
        without_blocks(Blocks(), ["blocks.7"])


class Summed(nn.Module):
    """Two convolutions side by side, one of them transposed: without either the sum is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(8, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        total: Tensor = self.one(maps) + self.other(maps)
        return total


class Scaled(nn.Module):
    """A layer whose answer is scaled to length 1: nothing by nothing where the layer is silent."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 1)

    def forward(self, maps: Tensor) -> Tensor:
        answer: Tensor = self.layer(maps)
        return answer / answer.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kind", [Summed, Scaled])
def test_what_nothing_leads_past_stays(kind: type[nn.Module]) -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Sequential(kind()), nn.Conv2d(8, 4, 1))
    assert residual_blocks(module, run) == ()


def test_blocks_that_share_their_weights_stay() -> None:
    """Without one of them nothing would become smaller."""
    shared, own = Block(8), Block(8)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), shared, own, shared, nn.Conv2d(8, 4, 1))
    assert residual_blocks(module, run) == ("2",)


def test_what_is_looked_at_keeps_its_mode() -> None:
    module = settled(Blocks(8), IMAGES).train()
    module.get_submodule("blocks.0").eval()
    before = [part.training for part in module.modules()]
    residual_blocks(module, run)
    channel_groups(module, run)
    assert [part.training for part in module.modules()] == before
