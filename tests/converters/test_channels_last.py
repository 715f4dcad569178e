"""Images with their channels last mean the same in every format, and cost TFLite no transposition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import FORMATS, Format, InputError, ParityError, Program, convert, load, suffix_of, verify
from tests.converters._networks import ActivationGrid, freeze

IMAGES = np.random.default_rng(0).normal(size=(32, 24, 20, 3)).astype(np.float32)


class Segments(nn.Module):
    """An image and a mask in; a class for each place, and one for the whole, out."""

    def __init__(self, grid: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.grids = nn.ModuleList(grid() for _ in range(5))
        self.stem, self.body = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.places, self.whole = nn.Conv2d(8, 5, 1), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.grids[1](F.relu(self.stem(self.grids[0](image))))
        x = self.grids[2](F.relu(self.body(x)))
        pooled = self.grids[2](F.adaptive_avg_pool2d(x, 1))
        places = self.grids[3](self.places(F.interpolate(x, scale_factor=2, mode="nearest")))
        return places, self.grids[4](self.whole(pooled.flatten(1)))


def segments(*, quantized: bool) -> Program:
    torch.manual_seed(0)
    network = Segments(ActivationGrid if quantized else nn.Identity).eval()
    if quantized:
        with torch.no_grad():
            network(torch.from_numpy(IMAGES).movedim(-1, 1))
        freeze(network)
    return Program(network, {"image": torch.randn(1, 3, 24, 20)}, ("places", "whole"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_channels_last_means_the_same_in_every_format(quantized: bool, format: Format, tmp_path: Path) -> None:
    first = segments(quantized=quantized)
    last = first.channels_last("image", "places")

    path = convert(last, tmp_path / f"net{suffix_of(format)}")

    answers = load(path).run({"image": IMAGES})
    with torch.no_grad():
        expected = first(image=torch.from_numpy(IMAGES).movedim(-1, 1))
    assert answers["places"].shape == (32, 24, 20, 5)
    tolerance = 1e-4 if not quantized else 0.2
    np.testing.assert_allclose(answers["places"], expected["places"].movedim(1, -1).numpy(), atol=tolerance)
    np.testing.assert_allclose(answers["whole"], expected["whole"].numpy(), atol=tolerance)
    parity = verify(path, last, {"image": IMAGES})
    assert parity.sqnr_db >= (28 if quantized else 80)
    assert parity.integers_equal is (True if quantized else None)
    assert transpositions(path, format) == {"tflite": 0, "onnx": 2, "coreml": 2}[format]  # those two at the doors


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_channels_first_costs_tflite_the_transpositions(quantized: bool, tmp_path: Path) -> None:
    path = convert(segments(quantized=quantized), tmp_path / "net.tflite")
    assert transpositions(path, "tflite") == 2


def transpositions(path: Path, format: Format) -> int:
    if format == "tflite":
        from converters._tflite import operators as tflite_operators

        return tflite_operators(path).count("TRANSPOSE")
    if format == "onnx":
        from converters._onnx import operators as onnx_operators

        return onnx_operators(path).count("Transpose")
    from converters._coreml._package import open_package

    (block,) = open_package(path).spec.mlProgram.functions["main"].block_specializations.values()
    return [operation.type for operation in block.operations].count("transpose")


def test_sounds_have_channels_too(tmp_path: Path) -> None:
    program = Program(nn.Conv1d(2, 3, 5).eval(), {"sound": torch.randn(1, 2, 40)}, ("y",)).channels_last("sound", "y")

    path = convert(program, tmp_path / "net.tflite")

    assert load(path).run({"sound": np.zeros((1, 40, 2), np.float32)})["y"].shape == (1, 36, 3)
    assert verify(path, program).sqnr_db >= 80


def test_a_file_that_turned_its_answer_is_noticed(tmp_path: Path) -> None:
    program = Program(nn.Conv2d(3, 4, 1).eval(), {"image": torch.randn(1, 3, 5, 6)}, ("map",))

    path = convert(program.channels_last("map"), tmp_path / "net.onnx")

    with pytest.raises(ParityError, match=r"'map' in the shape \(5, 6, 4\) where its module has \(4, 5, 6\)"):
        verify(path, program)


def test_what_has_no_channels_is_refused(tmp_path: Path) -> None:
    program = segments(quantized=False)

    with pytest.raises(InputError, match=r"names \['picture'\]; inputs and outputs are \['image', 'places', 'whole'\]"):
        program.channels_last("picture")
    with pytest.raises(InputError, match=r"names \['x'\], without the axes of an image"):
        Program(nn.Linear(3, 2), {"x": torch.zeros(1, 3)}, ("y",)).channels_last("x")
    with pytest.raises(InputError, match=r"names \['whole'\], without the axes of an image"):
        convert(program.channels_last("whole"), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
