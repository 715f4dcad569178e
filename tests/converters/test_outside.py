"""What stays outside of XNNPACK, or of the grids of an integer file: as the runtimes and the graphs say it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import FORMATS, Format, Outside, Program, convert, outside, suffix_of
from mobiledistill.quantize import KeepFloat, post_training

IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Weigh(KeepFloat):
    """Shares of places, in floats."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 1)


class Net(nn.Module):
    """Two layers in integers, a softmax that stays float where it is wanted."""

    def __init__(self, weigh: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.weigh = Weigh() if weigh else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return self.weigh(self.second(F.relu(self.first(image))))


class Choice(nn.Module):
    """Ends in an operator that XNNPACK does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2 + 1).argmax(1)


def integers(weigh: bool) -> list[Program]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return post_training(Program(Net(weigh).eval(), {"image": IMAGES[:1]}, ("y",)), {"image": IMAGES})


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_of_integers_leaves_nothing_outside(tmp_path: Path, format: Format) -> None:
    found = outside(convert(integers(weigh=False), tmp_path / f"a{suffix_of(format)}"))
    assert found is not None
    assert found.operators == {}
    assert str(found).startswith(f"All {found.total} operators are in ")


@pytest.mark.parametrize(("format", "kind"), [("onnx", "Softmax"), ("coreml", "softmax")])
def test_what_computes_floats_between_integers_is_counted(tmp_path: Path, format: Format, kind: str) -> None:
    found = outside(convert(integers(weigh=True), tmp_path / f"a{suffix_of(format)}"))
    assert found is not None
    assert found.operators == {kind: 1}
    assert f"1 of {found.total} operators ({kind} 1)" in str(found)


def test_what_xnnpack_does_not_take_is_counted(tmp_path: Path) -> None:
    values = torch.randn(1, 6)
    found = outside(convert(Program(Choice(), {"x": values}, ("choice",)), tmp_path / "a.tflite"))
    assert found == Outside("XNNPACK", {"ARG_MAX": 1}, 3)


def test_every_signature_is_asked(tmp_path: Path) -> None:
    values = torch.randn(1, 6)
    programs = [
        Program(Choice(), {"x": values}, ("choice",), "choose"),
        Program(Choice(), {"x": values}, ("y",), "again"),
    ]
    found = outside(convert(programs, tmp_path / "a.tflite"))
    assert found == Outside("XNNPACK", {"ARG_MAX": 2}, 6)


@pytest.mark.parametrize("format", ["onnx", "coreml"])
def test_of_a_float_file_there_is_nothing_to_tell(tmp_path: Path, format: Format) -> None:
    path = convert(Program(Net(weigh=False), {"image": IMAGES[:1]}, ("y",)), tmp_path / f"a{suffix_of(format)}")
    assert outside(path) is None
