"""Weights of 4 bits under integer kernels, in every format: the module's own, in half the bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from converters import (
    FORMATS,
    ConversionError,
    CoreML,
    Format,
    ParityError,
    Program,
    convert,
    load_program,
    save_program,
    size_bytes,
    suffix_of,
    verify,
)
from converters._codes import packed
from converters._narrow import narrow_weights, unpacked
from converters._program import export_program
from converters._tflite._pack import pack_model
from converters._tflite._schema import constant, operator_name, read_model, schema
from mobiledistill.quantize import Int4, Int8, Mixed, post_training


class Net(nn.Module):
    """Convolutions of every layout, one of them called twice, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 48, 3, 2, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.grouped, self.pointwise = nn.Conv2d(48, 48, 3, padding=1, groups=4), nn.Conv2d(48, 48, 1)
        self.again, self.head = nn.Conv2d(48, 48, 3, padding=1), nn.Linear(48, 21)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.pointwise(F.relu(self.depthwise(F.relu(self.stem(image))))))
        x = F.relu(self.again(F.relu(self.again(F.relu(self.grouped(x))))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Program(Net().eval(), {"image": torch.randn(1, 3, 16, 16)}, ("logits",))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.randn(32, 3, 16, 16).numpy()


def stored_as(program: Program, images: np.ndarray, scheme: Int8 | Mixed) -> Program:
    (stored,) = post_training(program, {"image": torch.from_numpy(images)}, scheme)
    return stored


@pytest.fixture(scope="module")
def stored(program: Program, images: np.ndarray) -> Program:
    return stored_as(program, images, Int4())


@pytest.fixture(scope="module")
def tflite(stored: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(stored, tmp_path_factory.mktemp("narrow") / "a.tflite")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_holds_the_modules_weights_in_half_the_bytes(
    program: Program, images: np.ndarray, tmp_path: Path, format: Format
) -> None:
    sizes = {}
    for scheme in (Int8(), Int4()):
        stored = stored_as(program, images, scheme)
        path = convert(stored, tmp_path / f"a{suffix_of(format)}")
        parity = verify(path, stored, {"image": images})
        assert parity.integers_equal
        assert parity.max_steps < 1.01
        sizes[scheme] = size_bytes(path)
    weights = sum(parameter.numel() for parameter in program.module.parameters() if parameter.dim() > 1)
    assert 0.47 * weights < sizes[Int8()] - sizes[Int4()] < 0.51 * weights


@pytest.mark.parametrize("format", FORMATS)
def test_layers_of_4_and_of_8_bits_share_a_file(
    program: Program, images: np.ndarray, tmp_path: Path, format: Format
) -> None:
    stored = stored_as(program, images, Mixed(Int8(), {"again": Int4(), "head": Int4()}))
    path = convert(stored, tmp_path / f"a{suffix_of(format)}")
    assert verify(path, stored, {"image": images}).integers_equal
    whole = size_bytes(convert(stored_as(program, images, Int8()), tmp_path / f"b{suffix_of(format)}"))
    assert 0.9 < (whole - size_bytes(path)) / ((48 * 48 * 9 + 48 * 21) / 2) < 1.1


def test_8_bits_stay_8_bits_however_small_their_values(program: Program, images: np.ndarray, tmp_path: Path) -> None:
    """Kernels of 4 bits are slower in TFLite: that is for who chose them."""
    stored = stored_as(program, images, Int8())
    (weight,) = [buffer for name, buffer in stored.module.named_buffers() if name.endswith("again.weight")]
    with torch.no_grad():
        weight.mul_(0.05)
    model = read_model(convert(stored, tmp_path / "a.tflite"))
    assert schema().TensorType.INT4 not in {tensor.type for tensor in model.subgraphs[0].tensors}


def test_operators_say_the_version_that_reads_4_bits(tflite: Path) -> None:
    model = read_model(tflite)
    versions = {operator_name(model, op): model.operatorCodes[op.opcodeIndex].version for op in _operators(model)}
    assert versions["CONV_2D"] == versions["DEPTHWISE_CONV_2D"] == 7
    assert versions["FULLY_CONNECTED"] == 10


def test_onnxruntime_runs_them_in_its_integer_kernels(stored: Program, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    path = convert(stored, tmp_path / "a.onnx")
    onnxruntime.InferenceSession(str(path), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 6
    assert "Conv" not in kinds


def test_a_wrong_half_of_a_byte_is_found(stored: Program, tflite: Path, images: np.ndarray, tmp_path: Path) -> None:
    path, model = tmp_path / "a.tflite", read_model(tflite)
    weight = next(t for t in model.subgraphs[0].tensors if t.type == schema().TensorType.INT4 and len(t.shape) == 4)
    data = np.array(model.buffers[weight.buffer].data, np.uint8)
    model.buffers[weight.buffer].data = (data >> 4) | (data << 4)
    path.write_bytes(pack_model(model))
    with pytest.raises(ParityError, match="no layer of the file holds its weight's integers"):
        verify(path, stored, {"image": images})


def test_a_target_without_such_weights_is_refused(stored: Program, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"iOS17 lacks weights in integers below 8 bits .* take Int8"):
        convert(stored, tmp_path / "a.mlpackage", details=CoreML(target="iOS17"))
    assert list(tmp_path.iterdir()) == []


def test_they_survive_on_disk(stored: Program, tflite: Path, tmp_path: Path) -> None:
    loaded = load_program(save_program(stored, tmp_path / "net.pt2"))
    assert size_bytes(convert(loaded, tmp_path / "a.tflite")) == size_bytes(tflite)


def test_weights_are_found_in_the_modules_layout(program: Program, images: np.ndarray) -> None:
    found = narrow_weights(export_program(stored_as(program, images, Mixed(Int8(), {"grouped": Int4()}))))
    assert [weight.shape for weight in found] == [(48, 12, 3, 3)]
    assert int(np.abs(found[0]).max()) == 7


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_halves_come_back_out_of_bytes(integers: list[int]) -> None:
    values = np.array(integers, np.int8)
    assert unpacked(packed(values, 4), len(values)).tolist() == integers


def test_a_constant_of_4_bits_reads_as_integers(tflite: Path) -> None:
    model = read_model(tflite)
    weight = next(t for t in model.subgraphs[0].tensors if t.type == schema().TensorType.INT4)
    values = constant(model, weight)
    assert values is not None
    assert values.shape == tuple(weight.shape)
    assert values.min() >= -7


def _operators(model: object) -> list[object]:
    return list(model.subgraphs[0].operators)  # type: ignore[attr-defined]  # flatbuffer objects have no types
