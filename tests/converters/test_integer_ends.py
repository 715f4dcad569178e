"""Files whose ends are integers, by choice, hold and mean the same integers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import ONNX, Details, InputError, IntegerEnd, Program, TFLite, convert, load, suffix_of, verify
from converters._integers import inspect_module
from tests.converters._networks import ActivationGrid, example_input, float_net, freeze, quantized_net

SOUNDS = np.random.default_rng(0).normal(size=(40, 1, 40, 101)).astype(np.float32)

WithIntegers = Literal["tflite", "onnx"]
FORMATS: tuple[WithIntegers, ...] = ("tflite", "onnx")


def wish(format: WithIntegers, *, inputs: bool = True, outputs: bool = True) -> Details:
    kind = TFLite if format == "tflite" else ONNX
    return kind(integer_inputs=inputs, integer_outputs=outputs)


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(quantized_net(8), {"features": example_input()}, ("logits",))


@pytest.fixture(scope="module", params=FORMATS)
def integer_file(
    program: Program, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[WithIntegers, Path]:
    format: WithIntegers = request.param
    path = tmp_path_factory.mktemp(format) / f"net{suffix_of(format)}"
    return format, convert(program, path, details=wish(format))


def operators_of(path: Path) -> list[str]:
    if path.suffix == ".tflite":
        from converters._tflite import operators

        return operators(path)
    from converters._onnx import operators as onnx_operators

    return onnx_operators(path)


def test_a_file_of_integer_ends_passes_parity(program: Program, integer_file: tuple[WithIntegers, Path]) -> None:
    parity = verify(integer_file[1], program, {"features": SOUNDS})
    assert parity.integers_equal
    assert parity.max_steps is not None
    assert parity.max_steps <= 1.001


def test_scale_and_zero_point_are_the_modules(program: Program, integer_file: tuple[WithIntegers, Path]) -> None:
    format, path = integer_file
    seen = inspect_module(program)
    shift, dtype = (0, np.int8) if format == "tflite" else (128, np.uint8)

    ends = load(path).integer_ends()

    assert sorted(ends) == ["features", "logits"]
    for name, grid in {**seen.input_grids, **seen.output_grids}.items():
        assert grid is not None
        assert ends[name].scale == pytest.approx(grid.scale, rel=1e-6)
        assert (ends[name].zero_point, ends[name].dtype) == (grid.zero_point + shift, np.dtype(dtype))


def test_no_float_is_left_in_the_graph(integer_file: tuple[WithIntegers, Path]) -> None:
    format, path = integer_file
    if format == "tflite":
        assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators_of(path))
    else:
        assert operators_of(path)[0] != "QuantizeLinear"
        assert operators_of(path)[-1] == "QuantizeLinear"  # of the last layer, which its integer kernel takes in


def test_all_of_an_onnx_file_runs_in_integer_kernels(program: Program, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    path = convert(program, tmp_path / "net.onnx", details=wish("onnx"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that such a file belongs to one machine
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    kernels = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}

    assert not {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm", "Add"} & kernels


def test_the_runtime_takes_and_gives_the_integers(integer_file: tuple[WithIntegers, Path], tmp_path: Path) -> None:
    """The same file with float ends, asked in floats, answers the same integers."""
    format, path = integer_file
    program = Program(quantized_net(8), {"features": example_input()}, ("logits",))
    floats = load(convert(program, tmp_path / f"net{suffix_of(format)}"))
    model = load(path)
    ends = model.integer_ends()

    answers = model.run({"features": ends["features"].integers(SOUNDS)})["logits"]

    assert answers.dtype == ends["logits"].dtype
    expected = floats.run({"features": SOUNDS})["logits"]
    assert np.mean(np.abs(ends["logits"].values(answers) - expected) > 0.1 * ends["logits"].scale) < 0.01
    with pytest.raises(InputError, match=r"'features' holds float32, but the file reads u?int8"):
        model.run({"features": SOUNDS})


def test_tflite_tells_its_grid_to_every_reader(program: Program, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = convert(program, tmp_path / "net.tflite", details=wish("tflite"))
    (detail,) = Interpreter(model_path=str(path)).get_input_details()

    end = load(path).integer_ends()["features"]
    assert detail["dtype"] is np.int8
    assert detail["quantization"] == (pytest.approx(end.scale), end.zero_point)


@pytest.mark.parametrize("format", FORMATS)
def test_one_side_may_stay_float(program: Program, format: WithIntegers, tmp_path: Path) -> None:
    path = convert(program, tmp_path / f"in{suffix_of(format)}", details=wish(format, outputs=False))
    assert list(load(path).integer_ends()) == ["features"]
    assert verify(path, program, {"features": SOUNDS}).integers_equal
    path = convert(program, tmp_path / f"out{suffix_of(format)}", details=wish(format, inputs=False))
    assert list(load(path).integer_ends()) == ["logits"]
    assert verify(path, program, {"features": SOUNDS}).integers_equal


class Parts(nn.Module):
    """Answers its places and their summary, one of which the other reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.places, self.whole = ActivationGrid(), ActivationGrid(), ActivationGrid()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.places(F.relu(self.conv(self.read(image))))
        return x, self.whole(self.head(self.places(F.adaptive_avg_pool2d(x, 1)).flatten(1)))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_an_output_that_is_read_on_and_one_that_is_turned(last: bool, format: WithIntegers, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, images = Parts().eval(), torch.randn(40, 3, 12, 10)
    with torch.no_grad():
        network(images)
    freeze(network)
    program = Program(network, {"image": images[:1]}, ("places", "whole"))
    if last:
        program, images = program.channels_last("image", "places"), images.movedim(1, -1)

    path = convert(program, tmp_path / f"net{suffix_of(format)}", details=wish(format))

    assert sorted(load(path).integer_ends()) == ["image", "places", "whole"]
    assert verify(path, program, {"image": images.numpy()}).integers_equal
    if format == "tflite":
        assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators_of(path))
        floats = convert(program, tmp_path / "floats.tflite")
        assert verify(floats, program, {"image": images.numpy()}).integers_equal


@pytest.mark.parametrize("format", FORMATS)
def test_a_module_that_is_not_quantized_there_is_refused(format: WithIntegers, tmp_path: Path) -> None:
    floats = Program(float_net(8), {"features": example_input()}, ("logits",))
    half = Program(nn.Sequential(quantized_net(8), nn.Softmax(-1)), {"features": example_input()}, ("shares",))
    path = tmp_path / f"net{suffix_of(format)}"

    with pytest.raises(InputError, match=r"^\['features', 'logits'\] of signature 'main' cannot be integers.*leave"):
        convert(floats, path, details=wish(format))
    with pytest.raises(InputError, match=r"^\['shares'\] of signature 'main' cannot be integers"):
        convert(half, path, details=wish(format))
    assert not list(tmp_path.iterdir())


def test_an_end_rounds_and_saturates() -> None:
    end = IntegerEnd(0.25, 3, np.dtype(np.uint8))
    values = np.array([-10, -0.75, 0, 0.3, 1000], np.float32)
    assert end.integers(values).tolist() == [0, 0, 3, 4, 255]
    assert end.values(end.integers(values)).tolist() == [-0.75, -0.75, 0, 0.25, 63]
