from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import ConversionError, Program
from converters._integers import inspect_module, integer_differences, module_integers
from converters._tflite import TFLiteModel, export_tflite, operators, read_integers
from converters._tflite._export import _write_whole
from converters._tflite._schema import read_model, schema
from tests.converters._networks import ActivationGrid, example_input, freeze
from tests.converters.tflite._answers import module_and_file, share_within_a_step, sqnr_db
from tests.converters.tflite.conftest import Exported


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "builtin"])
def test_a_quantized_file_answers_as_its_module(quantized: Exported, delegate: bool) -> None:
    expected, answers = module_and_file(quantized.program, quantized.path, delegate=delegate)

    step = inspect_module(quantized.program).output_steps["logits"]
    assert step
    assert np.ptp(expected) > 100 * step  # else being one step off would say nothing
    assert share_within_a_step(expected, answers, step) >= 0.99


def test_a_quantized_graph_is_integer_between_its_ends(quantized: Exported) -> None:
    (graph,) = read_model(quantized.path).subgraphs
    types = schema().TensorType

    names = operators(quantized.path)
    assert names[0] == "QUANTIZE"
    assert names[-1] == "DEQUANTIZE"
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(names[1:-1])
    ends = {*graph.inputs, *graph.outputs}
    assert {tensor.type for index, tensor in enumerate(graph.tensors) if index in ends} == {types.FLOAT32}
    assert {tensor.type for index, tensor in enumerate(graph.tensors) if index not in ends} == {types.INT8, types.INT32}


def test_the_file_holds_the_module_s_integers(quantized: Exported) -> None:
    module, file = module_integers(quantized.program), read_integers(quantized.path)

    assert list(file) == ["main"]
    assert len(module) == 6
    assert integer_differences(module, file["main"]) == []
    for ours, theirs in zip(module, file["main"], strict=True):
        assert np.array_equal(ours.weight, theirs.weight)
        assert ours.input == theirs.input
        assert ours.output == theirs.output


def test_float_files_come_within_80_and_45_db(floats: Exported, halves: Exported) -> None:
    assert sqnr_db(*module_and_file(floats.program, floats.path)) >= 80
    assert sqnr_db(*module_and_file(floats.program, floats.path, delegate=False)) >= 80
    assert sqnr_db(*module_and_file(halves.program, halves.path)) >= 45
    assert sqnr_db(*module_and_file(halves.program, halves.path, delegate=False)) >= 45
    assert halves.path.stat().st_size < 0.7 * floats.path.stat().st_size
    assert read_integers(halves.path) == {"main": []}


class AwkwardNet(nn.Module):
    """Shapes on which other tools go wrong: a norm behind the ReLU, and a linear layer behind average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.input_grid = ActivationGrid()
        self.stem, self.stem_grid = nn.Conv2d(2, 6, 3, stride=2, padding=1), ActivationGrid()
        self.norm, self.norm_grid = nn.Conv2d(6, 6, 1, groups=6), ActivationGrid()
        self.conv, self.conv_grid = nn.Conv2d(6, 7, 3, stride=2, padding=1), ActivationGrid()
        self.head, self.head_grid = nn.Linear(7, 5), ActivationGrid()
        with torch.no_grad():
            self.norm.bias.copy_(torch.linspace(-1, 1, 6))
            self.head.bias.copy_(torch.linspace(-2, 2, 5))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem_grid(F.relu(self.stem(self.input_grid(image))))
        x = self.norm_grid(self.norm(x))
        x = self.conv_grid(F.relu(self.conv(x)))
        x = self.conv_grid(x.mean((2, 3)))
        return self.head_grid(self.head(x))


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Program], Path]:
    torch.manual_seed(0)
    network = AwkwardNet().eval()
    with torch.no_grad():
        network(torch.randn(8, 2, 25, 25))
    freeze(network)
    shapes = {"main": (1, 2, 25, 25), "wide": (1, 2, 25, 49)}
    programs = [Program(network, {"image": torch.randn(shape)}, ("scores",), name) for name, shape in shapes.items()]
    return programs, export_tflite(programs, tmp_path_factory.mktemp("awkward") / "net.tflite")


def test_two_signatures_share_their_weights(awkward: tuple[list[Program], Path]) -> None:
    programs, path = awkward

    signatures = TFLiteModel(path).signatures
    assert {name: dict(signature.inputs) for name, signature in signatures.items()} == {
        "main": {"image": (1, 2, 25, 25)},
        "wide": {"image": (1, 2, 25, 49)},
    }
    assert {signature.outputs for signature in signatures.values()} == {("scores",)}
    for program in programs:
        step = inspect_module(program).output_steps["scores"]
        assert step
        assert share_within_a_step(*module_and_file(program, path), step) >= 0.99
    model = read_model(path)
    int8 = schema().TensorType.INT8
    weights = [
        {tensor.buffer for tensor in graph.tensors if tensor.buffer and tensor.type == int8}
        for graph in model.subgraphs
    ]
    assert len(weights[0]) == 4
    assert weights[0] == weights[1]


def test_norm_behind_relu_and_linear_behind_pooling_keep_their_biases(awkward: tuple[list[Program], Path]) -> None:
    programs, path = awkward

    stored = read_integers(path)
    assert set(operators(path)) == {
        *("QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED")
    }
    for program in programs:
        module = module_integers(program)
        assert integer_differences(module, stored[program.name]) == []
        for ours, theirs in zip(module, stored[program.name], strict=True):
            assert ours.input is not None
            assert ours.bias is not None
            assert theirs.bias is not None
            step = ours.input.scale * ours.weight_scale.astype(np.float64)
            assert np.all(np.abs(ours.bias - theirs.bias) <= 0.501 * step)


def test_padding_that_same_means_is_left_to_the_convolution(
    awkward: tuple[list[Program], Path], quantized: Exported
) -> None:
    _, odd_sizes = awkward

    assert "PAD" not in operators(odd_sizes)  # 25 -> 13 -> 7: SAME pads (1, 1) as torch does
    assert operators(quantized.path).count("PAD") == 2  # 40 -> 20 -> 10: SAME would pad (0, 1)


class SingularValues(nn.Module):
    """Nothing that TFLite could do."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.linalg.svdvals(image)


def test_what_cannot_be_written_is_named_in_one_line_and_leaves_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = Program(SingularValues(), {"image": torch.zeros(1, 1, 4, 4)}, ("values",))

    with pytest.raises(ConversionError, match=r"aten\.linalg_svdvals has no counterpart") as raised:
        export_tflite([program], tmp_path / "net.tflite")

    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_export_and_run_say_nothing_and_leave_the_module_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    network[1].training = False

    path = export_tflite([Program(network, {"a_b": torch.zeros(1, 4)}, ("out/put",))], tmp_path / "net.tflite")
    answers = TFLiteModel(path).run({"a_b": np.zeros((1, 4), np.float32)})

    assert capfd.readouterr() == ("", "")
    assert network.training
    assert not network[1].training
    assert [child.name for child in tmp_path.iterdir()] == ["net.tflite"]
    np.testing.assert_allclose(answers["out/put"], network[0].bias.detach().numpy()[None], rtol=1e-6)


def test_signatures_need_names_of_their_own(tmp_path: Path) -> None:
    program = Program(nn.Identity(), {"features": example_input()}, ("same",))

    with pytest.raises(ConversionError, match=r"\['main', 'main'\]"):
        export_tflite([program, program], tmp_path / "net.tflite")


def test_a_folder_that_does_not_exist_is_named(floats: Exported, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"nowhere.*cannot be written"):
        _write_whole(tmp_path / "nowhere" / "net.tflite", floats.path.read_bytes())
