from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from converters import CoreML, Program, Target, integer_differences, module_integers
from converters._coreml import export_coreml, read_integers
from converters._coreml._package import open_package
from converters._coreml._slim import load_program
from converters._integers import Grid
from tests.converters._networks import ActivationGrid, ResidualNet, quantized_net
from tests.converters.coreml._programs import save_mil
from tests.converters.coreml.conftest import Exported


def test_a_package_holds_its_modules_integers(quantized: Exported) -> None:
    expected = module_integers(quantized.program)

    stored = read_integers(quantized.path)

    assert list(stored) == ["main"]
    assert len(stored["main"]) == len(expected) == 6
    assert integer_differences(expected, stored["main"]) == []
    assert all(np.array_equal(one.weight, other.weight) for one, other in zip(expected, stored["main"], strict=True))
    assert all(layer.input is not None and layer.output is not None for layer in stored["main"])


def test_every_grid_of_a_package_is_one_of_the_modules(quantized: Exported) -> None:
    grids = [part for part in quantized.program.module.modules() if isinstance(part, ActivationGrid)]
    program = load_program(open_package(quantized.path))

    stored = {
        float(operation.inputs["scale"].val)
        for operation in program.functions["main"].operations
        if operation.op_type in ("quantize", "dequantize")
    }

    assert stored == {float(np.float32(grid.scale)) for grid in grids}


def test_both_signatures_hold_them(two_signatures: Exported) -> None:
    stored = read_integers(two_signatures.path)

    assert list(stored) == ["again", "main"]
    for layers in stored.values():
        assert integer_differences(module_integers(two_signatures.program), layers) == []


def test_half_precision_keeps_them(quantized: Exported, tmp_path: Path) -> None:
    path = export_coreml([quantized.program], tmp_path / "net.mlpackage", "float16")

    assert integer_differences(module_integers(quantized.program), read_integers(path)["main"]) == []


def test_a_float_package_holds_none(floats: Exported) -> None:
    assert read_integers(floats.path) == {"main": []}


def triple_bias(network: ResidualNet) -> None:
    network.head.bias *= 3


def shift_zero_point(network: ResidualNet) -> None:
    network.second_grid.zero_point += 1


def transpose_weight(network: ResidualNet) -> None:
    network.first.weight = network.first.weight.transpose(2, 3).contiguous()


def stretch_scale(network: ResidualNet) -> None:
    network.down_grid.scale *= 1.02


def stretch_weight_scale(network: ResidualNet) -> None:
    network.stem.weight_scale[3] *= 1.02
    network.stem.weight[3] *= 1.02


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (triple_bias, "head: bias is up to"),
        (shift_zero_point, "second: output zero point is"),
        (transpose_weight, "first: no layer of the file holds its weight's integers"),
        (stretch_scale, "down: output scale is"),
        (stretch_weight_scale, "stem: weight scales differ by up to 2.00 %"),
    ],
)
def test_planted_faults_are_found(
    quantized: Exported, fault: Callable[[nn.Module], None], finding: str, tmp_path: Path
) -> None:
    faulty = copy.deepcopy(quantized_net(8))
    with torch.no_grad():
        fault(faulty)
    program = Program(faulty, quantized.program.inputs, ("logits",))
    path = export_coreml([program], tmp_path / "net.mlpackage")

    differences = integer_differences(module_integers(quantized.program), read_integers(path)["main"])

    assert differences
    assert differences[0].startswith(finding)
    assert integer_differences(module_integers(program), read_integers(path)["main"]) == []


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
def test_weights_alone_may_be_integers(target: Target, tmp_path: Path) -> None:
    network = quantized_net(8)
    assert isinstance(network, ResidualNet)
    program = Program(nn.Sequential(network.stem), {"x": torch.randn(1, 1, 8, 8)}, ("y",))
    path = export_coreml([program], tmp_path / "net.mlpackage", details=CoreML(target=target))

    (layer,) = read_integers(path)["main"]

    assert integer_differences(module_integers(program), [layer]) == []
    assert (layer.input, layer.output) == (None, None)


def test_a_matrix_product_is_read_in_torchs_layout(tmp_path: Path) -> None:
    weight = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)  # (in, out)
    scale = np.array([0.5, 0.25, 0.125], np.float32)

    def body(mb, x):  # type: ignore[no-untyped-def]
        x = mb.quantize(input=x, scale=np.float32(0.1), zero_point=np.uint8(5), output_dtype="uint8")
        x = mb.dequantize(input=x, scale=np.float32(0.1), zero_point=np.uint8(5))
        w = mb.constexpr_affine_dequantize(quantized_data=weight, scale=scale, zero_point=np.int8(0), axis=1)
        y = mb.relu(x=mb.matmul(x=mb.reshape(x=x, shape=[2, 4]), y=w))
        y = mb.quantize(input=y, scale=np.float32(0.2), zero_point=np.int8(-7), output_dtype="int8")
        return mb.dequantize(input=y, scale=np.float32(0.2), zero_point=np.int8(-7))

    path = save_mil(tmp_path / "net.mlpackage", (8,), body)

    (layer,) = read_integers(path)["main"]

    assert np.array_equal(layer.weight, weight.T)
    assert np.array_equal(layer.weight_scale, scale)
    assert layer.bias is None
    assert (layer.input, layer.output) == (Grid(pytest.approx(0.1), -123), Grid(pytest.approx(0.2), -7))
