"""Integer convolutions over sequences, and padding in front of convolutions, through onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters._integers import integer_differences, module_integers
from converters._onnx import ONNXModel, export_onnx, read_integers
from converters._program import Program
from mobiledistill.quantize import post_training


class Sequences(nn.Module):
    """Convolutions over a sequence: causal, dilated, strided, padded by themselves, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.causal = nn.Conv1d(6, 8, 3, dilation=2)
        self.strided = nn.Conv1d(8, 8, 5, stride=2, padding=2)
        self.depthwise = nn.Conv1d(8, 8, 3, padding=1, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.causal(F.pad(x, (4, 0))))
        y: Tensor = self.depthwise(F.relu(self.strided(F.pad(x, (0, 1)))))
        return y


class Images(nn.Module):
    """Padding of four sizes before a convolution that pads too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 2, 3)))
        return y


class PaddedWithOnes(nn.Module):
    """Padding that no convolution can do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (1, 1, 1, 1), value=1.0))
        return y


class ReadTwice(nn.Module):
    """A padded value that the network also answers with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        y: Tensor = self.conv(padded) + padded[:, :, 1:-1, 1:-1]
        return y


def quantized(module: nn.Module, shape: tuple[int, ...]) -> tuple[Program, Tensor]:
    """The module in integers, and the inputs that calibrated it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.2)
        inputs = torch.randn(8, *shape)
    program = Program(module.eval(), {"x": inputs[:1]}, ("y",))
    (stored,) = post_training(program, {"x": inputs})
    return stored, inputs


def kernels(path: Path, folder: Path) -> list[str]:
    """What onnxruntime computes with."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3  # it warns that such a file belongs to one machine
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


CASES = [
    (Sequences(), (6, 20)),
    (Images(), (6, 9, 7)),
]


@pytest.mark.parametrize(("module", "shape"), CASES)
def test_nothing_stands_around_an_integer_convolution(
    module: nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    program, _ = quantized(module, shape)
    path = export_onnx([program], tmp_path / "net.onnx")
    own_turns = {"Transpose"}  # onnxruntime turns the ends to channels last
    assert set(kernels(path, tmp_path)) - own_turns == {"QLinearConv", "QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize(("module", "shape"), [*CASES, (PaddedWithOnes(), (6, 9, 7)), (ReadTwice(), (6, 9, 7))])
def test_every_number_is_the_modules(module: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    program, inputs = quantized(module, shape)
    path = export_onnx([program], tmp_path / "net.onnx")
    assert not integer_differences(module_integers(program), read_integers(path)["main"])
    with torch.no_grad():
        expected = program.module(inputs).numpy()
    model = ONNXModel(path, optimized=False)
    given = np.concatenate([model.run({"x": x[None].numpy()})["y"] for x in inputs])
    np.testing.assert_array_equal(given, expected)
