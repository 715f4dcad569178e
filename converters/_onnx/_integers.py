"""Reads the integers of an .onnx file back, in the layout of the torch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._errors import ModelFileError
from converters._integers import Grid, IntegerLayer
from converters._onnx._file import read_models
from converters._onnx._graph import GraphView, attribute

__all__ = ["read_grids", "read_integers"]

_MOVERS = (
    *("DepthToSpace", "Expand", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split"),
    *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
"""Operators whose results are some of what they read (or zeros), so they lie on the same grid."""

_LIMITS = ("Clip", "Relu")


def read_integers(path: Path) -> dict[str, list[IntegerLayer]]:
    """The integer layers of an .onnx file (or a folder of them) by signature, in execution order.

    A layer is a Conv, Gemm or MatMul whose weight is a dequantized constant. Files carry no module names, so ``name``
    is empty; a grid stored in uint8 is shifted to int8.

    Raises:
        ModelFileError: the file is no ONNX model or damaged.
    """
    return {signature: _layers(path, model.graph) for signature, model in read_models(path).items()}


def read_grids(path: Path) -> dict[str, list[Grid]]:
    """The grids of 8 bits that an .onnx file (or a folder of them) puts activations on, by signature.

    Raises:
        ModelFileError: the file is no ONNX model or damaged.
    """
    found = {}
    for signature, model in read_models(path).items():
        view = GraphView(model.graph)
        quantizers = [node for node in view.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        grids = [view.grid(node) for node in quantizers if view.integers(node.input[0]) is None]
        found[signature] = [grid for grid in grids if grid is not None]
    return found


def _layers(path: Path, graph: Any) -> list[IntegerLayer]:
    try:
        view = GraphView(graph)
        layers = [_table(view, node) if node.op_type == "Gather" else _layer(view, node) for node in view.nodes]
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # scales, axes and shapes that do not belong together
        raise ModelFileError(
            f"{path} holds a quantized layer that makes no sense ({error}); export it again."
        ) from None
    return [layer for layer in layers if layer is not None]


def _table(view: GraphView, gather: Any) -> IntegerLayer | None:
    """A stored table whose rows are dequantized behind the Gather, or before it; None where they never change."""
    if not view.varies(gather.input[1]):
        return None
    readers = view.users[gather.output[0]]
    dequantize = view.makers.get(gather.input[0]) or next((r for r in readers if r.op_type == "DequantizeLinear"), None)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    before = dequantize.output[0] == gather.input[0]
    stored, scale = view.stored(dequantize.input[0] if before else gather.input[0]), view.stored(dequantize.input[1])
    if stored is None or scale is None or (integers := _signed(stored, view.zero_point(dequantize))) is None:
        return None
    if integers.ndim != 2 or scale.size != 1:
        return None
    grid = _output_grid(view, gather.output[0]) if before else view.grid(dequantize)
    scales = np.full(len(integers), scale.item(), np.float32)
    return IntegerLayer("", integers, scales, bias=None, input=None, output=grid)


def _layer(view: GraphView, node: Any) -> IntegerLayer | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or not view.varies(node.input[0]):
        return None
    dequantize = view.makers.get(node.input[1])
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    stored, scale = view.integers(dequantize.input[0]), view.stored(dequantize.input[1])
    if stored is None or scale is None or (integers := _signed(stored, view.zero_point(dequantize))) is None:
        return None
    if _is_turned(node):
        integers = integers.T
    if integers.ndim == 3:  # a sequence is an image of one row to the torch module
        integers = integers[:, :, None]
    bias, end = _bias(view, node)
    return IntegerLayer(
        name="",
        weight=np.ascontiguousarray(integers),
        weight_scale=np.broadcast_to(scale.astype(np.float32).ravel(), (len(integers),)).copy(),
        bias=None if bias is None else bias.astype(np.float64).ravel(),
        input=_input_grid(view, node.input[0]),
        output=_output_grid(view, end),
    )


def _is_turned(node: Any) -> bool:
    """Whether the weight is stored as (in, out)."""
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))


def _signed(stored: NDArray[Any], zero_point: NDArray[Any] | None) -> NDArray[np.int8] | None:
    """The integers about zero, as int8; None where they do not fit."""
    zero = np.zeros((), np.int16) if zero_point is None else zero_point.astype(np.int16)
    if stored.dtype not in (np.int8, np.uint8) or np.unique(zero).size != 1:
        return None
    integers = stored.astype(np.int16) - zero.ravel()[0]
    return integers.astype(np.int8) if integers.min() >= -128 and integers.max() <= 127 else None


def _bias(view: GraphView, node: Any) -> tuple[NDArray[Any] | None, str]:
    """The bias, and the name of the value that it has been added to."""
    end = node.output[0]
    if node.op_type != "MatMul":
        given = len(node.input) > 2 and node.input[2]
        return (view.constant(node.input[2]) if given else None), end
    users = view.users[end]
    if len(users) != 1 or users[0].op_type != "Add":
        return None, end
    values = [view.constant(name) for name in users[0].input if name != end]
    if len(values) != 1 or values[0] is None:
        return None, end
    return values[0], users[0].output[0]


def _input_grid(view: GraphView, name: str) -> Grid | None:
    """The grid of the dequantizers that a value comes from, over what only moves values."""
    maker = view.makers.get(name)
    if maker is None:
        return None
    if maker.op_type == "DequantizeLinear":
        return view.grid(maker)
    if maker.op_type in _MOVERS or (maker.op_type == "Gather" and view.stored(maker.input[1]) is not None):
        return _input_grid(view, maker.input[0])
    if maker.op_type == "Concat":
        grids = {_input_grid(view, part) for part in maker.input}
        return grids.pop() if len(grids) == 1 else None
    return None


def _output_grid(view: GraphView, name: str) -> Grid | None:
    """The grid of the first quantizer behind a layer, over an activation and what only moves values in between."""
    for user in view.users[name]:
        if user.op_type == "QuantizeLinear":
            return view.grid(user)
        if user.op_type in (*_LIMITS, *_MOVERS) and (grid := _output_grid(view, user.output[0])):
            return grid
    return None
