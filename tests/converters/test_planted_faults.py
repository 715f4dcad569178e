"""Right files damaged after they were written: each is refused, and the message names the layer that was hit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters import Format, Parity, ParityError, Precision, Program, convert, suffix_of, verify
from mobiledistill.quantize import post_training
from tests.converters._faulty import (
    Contrast,
    CoreMLFile,
    ONNXFile,
    Stream,
    TFLiteFile,
    Words,
    coreml_file,
    onnx_file,
    tflite_file,
)
from tests.networks import Residual, settled

Network = Literal["residual", "contrast", "halves", "integers", "words", "stream"]
STEM, FIRST, LATE_NORM, SECOND, DEPTHWISE, HEAD = range(6)  # of the residual network
LEFT, RIGHT, DOWN, WEIGH, NEAR, FAR = range(6)  # of the contrast


@dataclass(frozen=True)
class Case:
    """The signatures of a network, and real inputs for them."""

    programs: list[Program]
    inputs: dict[str, dict[str, NDArray[np.generic]]]
    precision: Precision = "float32"


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@cache
def case(network: Network) -> Case:
    images, ids = _drawn(24, 1, 16, 16), torch.arange(24 * 6).reshape(24, 6) % 20
    with torch.random.fork_rng():
        torch.manual_seed(0)
        match network:
            case "residual":
                program = Program(settled(Residual(12), images), {"image": images[:1]}, ("logits",))
                return Case(post_training(program, {"image": images}), {"main": {"image": images.numpy()}})
            case "words":
                program = Program(Words().eval(), {"ids": ids[:1]}, ("scores",))
                return Case(post_training(program, {"ids": ids}), {"main": {"ids": ids.numpy()}})
            case "stream":
                module = Stream().eval()
                long, short = {"sound": _drawn(24, 4, 1, 9)}, {"sound": _drawn(24, 4, 1, 3)}
                inputs = {"long": long, "short": short}
                programs = []
                for name, values in inputs.items():
                    values["cache"] = _drawn(24, 4, 1, 2)
                    example = {key: value[:1] for key, value in values.items()}
                    programs.append(Program(module, example, ("scores", "new_cache"), name))
                return Case(
                    programs, {name: {k: v.numpy() for k, v in values.items()} for name, values in inputs.items()}
                )
            case "integers":
                program = Program(Contrast().eval(), {"image": images[:1]}, ("near", "far"))
                return Case(post_training(program, {"image": images}), {"main": {"image": images.numpy()}})
            case "contrast" | "halves":
                program = Program(Contrast().eval(), {"image": images[:1]}, ("near", "far"))
                precision: Precision = "float16" if network == "halves" else "float32"
                return Case([program], {"main": {"image": images.numpy()}}, precision)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Network, Format], Path]:
    """The file of a network as the converter writes it, once for all tests."""
    folder = tmp_path_factory.mktemp("right")

    @cache
    def write(network: Network, format: Format) -> Path:
        one = case(network)
        return convert(one.programs, folder / f"{network}{suffix_of(format)}", precision=one.precision)

    return write


# --- TFLite


def scale_off_by_two_percent(file: TFLiteFile) -> None:
    grid = file.tensor(file.layers()[SECOND].inputs[1]).quantization
    grid.scale = [1.02 * scale if channel == 4 else scale for channel, scale in enumerate(grid.scale)]


def zero_point_shifted(file: TFLiteFile) -> None:
    grid = file.tensor(file.layers()[LATE_NORM].outputs[0]).quantization
    grid.zeroPoint = [grid.zeroPoint[0] + 2]


def bias_dropped(file: TFLiteFile) -> None:
    place = file.layers()[DEPTHWISE].inputs[2]
    file.write(place, np.zeros_like(file.read(place, np.int32)))


def operands_swapped_in_a_subtraction(file: TFLiteFile) -> None:
    difference = file.operators("SUB")[0]
    difference.inputs = list(difference.inputs)[::-1]


def pooling_strided_otherwise(file: TFLiteFile) -> None:
    options = file.operators("MAX_POOL_2D")[0].builtinOptions
    options.filterWidth, options.filterHeight, options.padding = 3, 3, 0  # SAME keeps the shape


def activation_missing(file: TFLiteFile) -> None:
    file.layers()[DOWN].builtinOptions.fusedActivationFunction = 0


def epsilon_of_a_norm_wrong(file: TFLiteFile) -> None:
    place = file.operators("ADD")[0].inputs[1]
    file.write(place, np.full_like(file.read(place, np.float32), 1e-2))


def outputs_swapped(file: TFLiteFile) -> None:
    near, far = file.model.signatureDefs[0].outputs
    near.tensorIndex, far.tensorIndex = far.tensorIndex, near.tensorIndex


def row_of_a_table_cut(file: TFLiteFile) -> None:
    place = file.operators("GATHER")[0].inputs[0]
    table = file.read(place, np.int8)
    table[7, 8:] = 0
    file.write(place, table)


def half_weight_overflowed(file: TFLiteFile) -> None:
    place = next(one.inputs[0] for one in file.operators("DEQUANTIZE"))
    weight = file.read(place, np.float16)
    weight.flat[0] = np.inf
    file.write(place, weight)


def second_signature_stale(file: TFLiteFile) -> None:
    file.graph = 1
    place = file.layers()[1].inputs[1]
    file.write(place, file.read(place, np.float32) * np.float32(1.001))


def state_taken_one_step_early(file: TFLiteFile) -> None:
    for kind in ("STRIDED_SLICE", "SLICE"):
        for cut in file.operators(kind):
            begin = file.read(cut.inputs[1], np.int32)
            file.write(cut.inputs[1], np.where(begin > 0, begin - 1, begin).astype(np.int32))
            if kind == "STRIDED_SLICE":
                end = file.read(cut.inputs[2], np.int32)
                file.write(cut.inputs[2], np.where(begin > 0, end - 1, end).astype(np.int32))


# --- ONNX


def weight_transposed(file: ONNXFile) -> None:
    name = file.stored(file.layers()[FIRST].input[1])
    file.write(name, file.read(name).transpose(0, 1, 3, 2))


def weight_clipped(file: ONNXFile) -> None:
    name = file.stored(file.layers()[DEPTHWISE].input[1])
    file.write(name, file.read(name).clip(-96, 96))


def scale_swapped_with_its_neighbours(file: ONNXFile) -> None:
    first, second = file.nodes("QuantizeLinear")[1:3]
    names = {first.input[1]: second.input[1], second.input[1]: first.input[1]}
    for node in file.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.input[1] = names.get(node.input[1], node.input[1])


def scale_of_a_sum_off_by_two_percent(file: ONNXFile) -> None:
    operand = file.nodes("Add")[0].input[1]
    (dequantize,) = (node for node in file.nodes("DequantizeLinear") if node.output[0] == operand)
    dequantize.input[1] = file.add("stretched", file.read(dequantize.input[1]) * np.float32(1.02))


def padding_on_one_side(file: ONNXFile) -> None:
    file.set_attribute(file.layers()[SECOND], "pads", [2, 1, 0, 1])


def softmax_over_the_wrong_axis(file: ONNXFile) -> None:
    file.set_attribute(file.nodes("Softmax")[0], "axis", 2)


def epsilon_wrong(file: ONNXFile) -> None:
    file.set_attribute(file.nodes("LayerNormalization")[0], "epsilon", 1e-3)


def joined_in_another_order(file: ONNXFile) -> None:
    join = file.nodes("Concat")[0]
    join.input[0], join.input[1] = join.input[1], join.input[0]


def channels_swapped(file: ONNXFile) -> None:
    name = file.stored(file.layers()[DOWN].input[1])
    weight = file.read(name)
    weight[[2, 5]] = weight[[5, 2]]
    file.write(name, weight)


def sign_of_a_large_weight_flipped(file: ONNXFile) -> None:
    name = file.stored(file.layers()[RIGHT].input[1])
    weight = file.read(name)
    weight.flat[np.abs(weight).argmax()] *= -1
    file.write(name, weight)


def pooling_strided_by_three(file: ONNXFile) -> None:
    file.set_attribute(file.nodes("MaxPool")[0], "strides", [1, 1])
    file.set_attribute(file.nodes("MaxPool")[0], "dilations", [8, 8])


def state_of_another_step(file: ONNXFile) -> None:
    (cut,) = file.nodes("Slice")
    for place in (1, 2):
        bound = file.read(cut.input[place])
        cut.input[place] = file.add(f"bound{place}", np.where(bound > 99, -1, bound - 1).astype(bound.dtype))


# --- Core ML


def bias_times_three(file: CoreMLFile) -> None:
    bias = file.value(file.layers()[HEAD], "bias")
    file.write(bias, 3 * file.read(bias))


def integer_of_a_weight_negated(file: CoreMLFile) -> None:
    weight = file.value(file.layers()[FIRST], "weight")
    integers = file.read(weight)
    integers.flat[np.abs(integers.astype(int)).argmax()] *= -1
    file.write(weight, integers)


def zero_point_of_a_grid_shifted(file: CoreMLFile) -> None:
    for kind in ("quantize", "dequantize"):
        operation = [one for one in file.operators(kind) if "zero_point" in one.inputs][1]
        zero_point = file.own(operation, "zero_point")
        file.write(zero_point, file.read(zero_point) + 2)


def operand_of_a_sum_stretched(file: CoreMLFile) -> None:
    name = file.operators("add")[0].inputs["y"].arguments[0].name
    (dequantize,) = (one for one in file.operators("dequantize") if one.outputs[0].name == name)
    scale = file.own(dequantize, "scale")
    file.write(scale, file.read(scale) * 1.02)


def softmax_over_another_axis(file: CoreMLFile) -> None:
    file.write(file.own(file.operators("softmax")[0], "axis"), np.array(2))


def norm_over_another_epsilon(file: CoreMLFile) -> None:
    file.write(file.own(file.operators("layer_norm")[0], "epsilon"), np.array(1e-3))


def minuend_and_subtrahend_swapped(file: CoreMLFile) -> None:
    inputs = file.operators("sub")[0].inputs
    x, y = inputs["x"].arguments[0].name, inputs["y"].arguments[0].name
    inputs["x"].arguments[0].name, inputs["y"].arguments[0].name = y, x


def pooling_padded(file: CoreMLFile) -> None:
    pool = file.operators("max_pool")[0]
    file.write(file.own(pool, "kernel_sizes"), np.array([1, 1]))


def second_function_stale(file: CoreMLFile) -> None:
    bias = file.value(file.layers()[0], "bias")
    file.write(bias, file.read(bias) + 0.01)


def weight_beyond_half_precision(file: CoreMLFile) -> None:
    weight = file.value(file.layers()[DOWN], "weight")
    values = file.read(weight)
    values[3] *= 30_000
    file.write(weight, values)


def activation_not_read(file: CoreMLFile) -> None:
    relu = file.operators("relu")[1]
    before, behind = relu.inputs["x"].arguments[0].name, relu.outputs[0].name
    for operation in file.block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name" and binding.name == behind:
                    binding.name = before
    file.block.operations.remove(relu)


FAULTS: list[tuple[Format, Network, Callable[[Any], None], str]] = [
    ("tflite", "residual", scale_off_by_two_percent, "second: weight scales differ by up to 2.00 %"),
    ("tflite", "residual", zero_point_shifted, "late_norm: output zero point"),
    ("tflite", "residual", bias_dropped, "depthwise: bias"),
    ("tflite", "contrast", operands_swapped_in_a_subtraction, "sub behind 'left'"),
    ("tflite", "contrast", pooling_strided_otherwise, "max_pool2d behind 'left'"),
    ("tflite", "contrast", activation_missing, "relu behind 'down'"),
    ("tflite", "contrast", epsilon_of_a_norm_wrong, "norm (layer_norm)"),
    ("tflite", "contrast", outputs_swapped, "output 'near'"),
    ("tflite", "integers", epsilon_of_a_norm_wrong, "norm (layer_norm)"),
    ("tflite", "integers", outputs_swapped, "output 'near'"),
    ("tflite", "words", row_of_a_table_cut, "tokens: no layer"),
    ("tflite", "halves", half_weight_overflowed, "head (linear)"),
    ("tflite", "stream", second_signature_stale, "head (conv2d)"),
    ("tflite", "stream", state_taken_one_step_early, "slice behind 'cache'"),
    ("onnx", "stream", state_of_another_step, "slice behind 'cache'"),
    ("onnx", "residual", weight_transposed, "first: no layer"),
    ("onnx", "residual", weight_clipped, "depthwise: no layer"),
    ("onnx", "residual", scale_swapped_with_its_neighbours, "stem.0: output scale"),
    ("onnx", "residual", scale_of_a_sum_off_by_two_percent, "second (conv2d): a grid of scale"),
    ("onnx", "residual", padding_on_one_side, "second (conv2d)"),
    ("onnx", "contrast", softmax_over_the_wrong_axis, "softmax behind 'weigh'"),
    ("onnx", "contrast", epsilon_wrong, "norm (layer_norm)"),
    ("onnx", "contrast", joined_in_another_order, "cat behind"),
    ("onnx", "contrast", channels_swapped, "down (conv2d)"),
    ("onnx", "contrast", sign_of_a_large_weight_flipped, "right (conv2d)"),
    ("onnx", "contrast", pooling_strided_by_three, "max_pool2d behind"),
    ("coreml", "residual", bias_times_three, "head: bias"),
    ("coreml", "residual", integer_of_a_weight_negated, "first: no layer"),
    ("coreml", "residual", zero_point_of_a_grid_shifted, "late_norm: output zero point"),
    ("coreml", "residual", operand_of_a_sum_stretched, "second (conv2d): a grid of scale"),
    ("coreml", "contrast", softmax_over_another_axis, "softmax behind 'weigh'"),
    ("coreml", "contrast", norm_over_another_epsilon, "norm (layer_norm)"),
    ("coreml", "contrast", minuend_and_subtrahend_swapped, "sub behind 'left'"),
    ("coreml", "contrast", pooling_padded, "max_pool2d behind"),
    ("coreml", "contrast", activation_not_read, "relu behind 'right'"),
    ("coreml", "integers", softmax_over_another_axis, "softmax behind 'weigh'"),
    ("coreml", "integers", minuend_and_subtrahend_swapped, "sub behind 'left'"),
    ("coreml", "halves", weight_beyond_half_precision, "down (conv2d)"),
    ("coreml", "stream", second_function_stale, "mix (conv2d)"),
]


@pytest.mark.parametrize(
    ("format", "network", "fault", "named"),
    FAULTS,
    ids=["-".join((*one[:2], one[2].__name__)) for one in FAULTS],
)
def test_a_damaged_file_is_refused_and_its_layer_named(
    right: Callable[[Network, Format], Path],
    tmp_path: Path,
    format: Format,
    network: Network,
    fault: Callable[[Any], None],
    named: str,
) -> None:
    path = tmp_path / right(network, format).name
    (shutil.copytree if right(network, format).is_dir() else shutil.copy)(right(network, format), path)
    with opened(path, format) as file:
        fault(file)
    with pytest.raises(ParityError) as refused:
        prove(path, network)
    assert f"First departing layer: {named}" in str(refused.value)


@pytest.mark.parametrize(("format", "network"), sorted({(format, network) for format, network, _, _ in FAULTS}))
def test_the_same_file_untouched_passes(
    right: Callable[[Network, Format], Path], format: Format, network: Network
) -> None:
    assert prove(right(network, format), network).sqnr_db >= 28


def test_the_signature_that_departs_is_named(right: Callable[[Network, Format], Path], tmp_path: Path) -> None:
    path = tmp_path / "stream.tflite"
    shutil.copy(right("stream", "tflite"), path)
    with tflite_file(path) as file:
        second_signature_stale(file)
    with pytest.raises(ParityError, match=r"^Signature 'short': "):
        prove(path, "stream")


def opened(path: Path, format: Format) -> AbstractContextManager[Any]:
    """The file, open for damage; of a network of several signatures the part of the last one."""
    if format == "tflite":
        return tflite_file(path)
    if format == "onnx":
        return onnx_file(path / "short.onnx" if path.is_dir() else path)
    return coreml_file(path, "short" if path.stem == "stream" else "main")


def prove(path: Path, network: Network) -> Parity:
    one = case(network)
    return verify(path, one.programs, one.inputs, one.precision)
