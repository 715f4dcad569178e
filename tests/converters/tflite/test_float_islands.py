"""Operators that stay float between integer layers, where a converter would put all their inputs on one grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from converters import Program, compare, load
from converters._program import export_program
from converters._tflite import export_tflite
from converters._tflite._float_islands import fence_float_islands
from converters._tflite._schema import operator_name, read_model
from mobiledistill.quantize import KeepFloat, calibrate, freeze, prepare

IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))

Join = Callable[[Tensor, Tensor], Tensor]


class _Joined(KeepFloat):
    def __init__(self, join: Join) -> None:
        super().__init__()
        self.join = join

    def forward(self, large: Tensor, small: Tensor) -> Tensor:
        return self.join(large, small)


class _TwoHeads(nn.Module):
    """Two heads whose grids differ thirtyfold, joined in floats."""

    def __init__(self, join: Join) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large = nn.Conv2d(3, 4, 3, padding=1)
        self.small = nn.Conv2d(3, 4, 3, padding=1)
        with torch.no_grad():
            self.large.weight.mul_(30)
        self.joined = _Joined(join)

    def forward(self, image: Tensor) -> Tensor:
        joined: Tensor = self.joined(self.large(image), self.small(image))
        return joined


@pytest.mark.parametrize(
    "join",
    [
        lambda large, small: torch.cat([large.flatten(2), small.flatten(2)], 2).transpose(1, 2),
        lambda large, small: torch.stack([large, small], 1),
        lambda large, small: torch.where(small > 0, large, small),
        lambda large, small: torch.maximum(large, small) + torch.minimum(large, small).exp(),
        lambda large, small: large.masked_fill(small > 0, -1e4).softmax(1),
        lambda large, small: large.clamp(min=1e-5).log() + small,
        lambda large, small: large.clamp_min(1e-5).log() + small.clamp_max(1e-5),
    ],
    ids=["cat", "stack", "where", "maximum", "masked_fill", "clamp", "clamp_min"],
)
def test_an_operator_between_integer_layers_clips_none_of_its_inputs(tmp_path: Path, join: Join) -> None:
    prepared = prepare({"main": _TwoHeads(join).eval()})
    calibrate(prepared, {"main": {"image": IMAGES}}, 99.99)
    module = freeze(prepared)["main"]
    program = Program(module, {"image": IMAGES[:1]}, ("joined",))
    path = export_tflite([program], tmp_path / "a.tflite")

    with torch.no_grad():
        expected = torch.cat([module(image[None]) for image in IMAGES])
    answers = load(path).run({"image": IMAGES.numpy()})
    assert compare({"joined": expected.numpy()}, answers).sqnr_db > 60

    model = read_model(path)
    factors = [operator for operator in model.subgraphs[0].operators if operator_name(model, operator) == "MUL"]
    assert not factors  # what keeps the converter away is taken out again


def test_what_lies_on_one_grid_stays_integer() -> None:
    """A cache and what is new, joined for a convolution: the module's own integers, which nothing may pull apart."""

    class _Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(4, 4, 3)

        def forward(self, new: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
            joined = torch.cat([past, new], 2)
            return self.layer(joined), joined[..., -2:]

    frames = {"new": torch.randn(16, 4, 8), "past": torch.randn(16, 4, 2)}
    prepared = prepare({"main": _Stream().eval()})
    calibrate(prepared, {"main": frames}, 99.99)
    inputs = {name: value[:1] for name, value in frames.items()}
    program = Program(freeze(prepared)["main"], inputs, ("logits", "newest"))
    exported = export_program(program)
    assert len(fence_float_islands(exported).graph.nodes) == len(exported.module(check_guards=False).graph.nodes)
