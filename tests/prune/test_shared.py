"""Blocks that share their layers: the module, what is cut of it, and how often files hold a shared weight."""

from __future__ import annotations

import copy
import doctest
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, Program, convert, suffix_of, verify
from mobiledistill import InputError
from mobiledistill.prune import channel_groups, cut, importance, share_layers
from mobiledistill.quantize import calibrate, freeze, prepare

ROWS = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


class Layer(nn.Module):
    """A feed-forward block behind a norm of its own."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.BatchNorm1d(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.down(self.up(self.norm(x)).relu())
        return x + added


class Deep(nn.Module):
    """Three such blocks between two layers; the last block may be another."""

    def __init__(self, last: int = 40) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 20)
        self.blocks = nn.ModuleList([Layer(20, 40), Layer(20, 40), Layer(20, last)])
        self.head = nn.Linear(20, 5)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.stem(rows)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


ALL = ["blocks.0", "blocks.1", "blocks.2"]


def _trained() -> nn.Module:
    torch.manual_seed(0)
    module = Deep()
    for _ in range(5):
        module(torch.randn(32, 6))
    return module.eval()


def _run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(ROWS[:1]),)


@pytest.mark.parametrize("start", ["first", "mean"])
@torch.no_grad()
def test_it_computes_what_equal_layers_do(start: Literal["first", "mean"]) -> None:
    module = _trained()
    equal = copy.deepcopy(module)
    for name in ("up.weight", "up.bias", "down.weight", "down.bias"):
        every = torch.stack([module.get_parameter(f"{block}.{name}") for block in ALL])
        for block in ALL:
            equal.get_parameter(f"{block}.{name}").copy_(every[0] if start == "first" else every.mean(0))

    shared = share_layers(module, ALL, start=start)

    torch.testing.assert_close(shared(ROWS), equal(ROWS))
    assert not torch.allclose(shared(ROWS), module(ROWS))
    assert shared.blocks[0].norm is not shared.blocks[1].norm  # type: ignore[index, union-attr]
    saved = sum(p.numel() for p in module.parameters()) - sum(p.numel() for p in shared.parameters())
    assert saved == 2 * (2 * 20 * 40 + 20 + 40)


def test_a_shared_layer_learns_from_every_block() -> None:
    module = _trained()
    equal = share_layers(module, ALL)
    apart = copy.deepcopy(module)
    for block in ALL:
        apart.load_state_dict({**apart.state_dict(), **_states(equal, block)})
    for made in (equal, apart):
        made(ROWS).square().mean().backward()

    gradients = [apart.get_parameter(f"{block}.up.weight").grad for block in ALL]

    assert equal.get_parameter("blocks.0.up.weight") is equal.get_parameter("blocks.2.up.weight")
    summed = torch.stack([gradient for gradient in gradients if gradient is not None]).sum(0)
    torch.testing.assert_close(equal.get_parameter("blocks.0.up.weight").grad, summed)


def test_shared_channels_leave_in_all_blocks_at_once() -> None:
    shared = share_layers(_trained(), ALL)
    groups = {group.name: group for group in channel_groups(shared, _run)}
    assert {name: group.channels for name, group in groups.items()} == {"stem": 20, "blocks.0.up": 40}
    scores = importance(shared, _run, groups.values(), (shared(ROWS).square().mean() for _ in range(1)))

    smaller = cut(shared, _run, {"blocks.0.up": 10}, scores)

    assert smaller.blocks[2].up is smaller.blocks[0].up  # type: ignore[index, union-attr]
    assert smaller.blocks[2].up.weight.shape == (10, 20)  # type: ignore[index, union-attr]
    gone = scores["blocks.0.up"].argsort(stable=True)[:30]
    with torch.no_grad():
        shared.get_parameter("blocks.0.down.weight")[:, gone] = 0
    torch.testing.assert_close(smaller(ROWS), shared(ROWS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_files_hold_a_shared_weight_once(format: Format, quantized: bool, tmp_path: Path) -> None:
    module = share_layers(_trained(), ALL)
    exported = module
    if quantized:
        prepared = prepare({"main": module})
        calibrate(prepared, {"main": {"rows": ROWS}}, 99.99)
        exported = freeze(prepared)["main"]
    program = Program(exported, {"rows": ROWS[:1]}, ("logits",))

    path = convert(program, tmp_path / f"net{suffix_of(format)}")

    weight = module.get_parameter("blocks.0.down.weight").detach().numpy()
    content = b"".join(part.read_bytes() for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file())
    if quantized:
        scale = np.abs(weight).max(1, keepdims=True) / 127
        weight = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
    assert sum(content.count(np.ascontiguousarray(way).tobytes()) for way in (weight, weight.T)) == 1
    verify(path, program, {"rows": ROWS.numpy()})


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (["blocks.0"], r"^Sharing needs two or more different blocks, but got \['blocks.0'\]\.$"),
        (["blocks.0", "blocks.0"], "two or more different blocks"),
        (["blocks.0", "blocks.7"], r"^There is no block 'blocks\.7' that could share its layers\.$"),
        (["blocks", "blocks.0"], r"^Block 'blocks\.0' lies within 'blocks'; name blocks beside each other\.$"),
        (["blocks.0", "blocks.0.norm"], "lies within"),
        (["blocks.1.norm", "blocks.0.norm"], r"^Block 'blocks\.1\.norm' has no layers that could be shared\.$"),
        (["blocks.0", "stem"], r"^Blocks 'blocks\.0' and 'stem' differ: '' is in 'stem' alone\.$"),
        (["blocks.0", "blocks.2"], r"^Blocks 'blocks\.0' and 'blocks\.2' differ: layer 'up' is Linear\(in_features=20"),
    ],
)
def test_blocks_that_cannot_share_are_refused(blocks: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        share_layers(Deep(last=30), blocks)


def test_how_they_start_is_one_of_two() -> None:
    with pytest.raises(InputError, match=r"^start must be 'first' or 'mean', but got 'last'"):
        share_layers(Deep(), ALL, start="last")  # type: ignore[arg-type]


def test_its_example_runs() -> None:
    known = {"nn": nn, "share_layers": share_layers}
    (example,) = doctest.DocTestFinder(recurse=False).find(share_layers, "share_layers", globs=known)
    result = doctest.DocTestRunner().run(example)
    assert (result.failed, result.attempted) == (0, 4)


def _states(module: nn.Module, block: str) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if name.startswith(f"{block}.")}
