"""Reads the integers of a .tflite file back, in the layout of the torch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._errors import ModelFileError
from converters._integers import Grid, IntegerLayer
from converters._reach import reaches
from converters._tflite._schema import constant, is_quantized, operator_name, read_model, schema

__all__ = ["read_grids", "read_integers"]

_TO_TORCH = {
    "CONV_2D": (0, 3, 1, 2),  # (out, kh, kw, in / groups)
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),  # (1, kh, kw, out); also what a convolution of one channel turns into
    "FULLY_CONNECTED": (0, 1),
}
"""Axes of a weight in the file, in the order in which torch has them."""


def read_integers(path: Path) -> dict[str, list[IntegerLayer]]:
    """The integer layers of a .tflite file by signature, in execution order.

    Files carry no module names, so ``name`` is empty. A bias is given in the units that the kernels compute in:
    its integer times input scale times weight scale, whatever the bias tensor's own scale says.

    Raises:
        ModelFileError: the file is no TFLite model or damaged.
    """
    model = read_model(path)
    try:
        return {name: _layers(model, graph) for name, graph in _graphs(model).items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # what does not belong together
        raise ModelFileError(
            f"{path} holds a quantized layer that makes no sense ({error}); export it again."
        ) from None


def read_grids(path: Path) -> dict[str, list[Grid]]:
    """The grids of all that a .tflite file computes in 8 bits, by signature.

    Raises:
        ModelFileError: the file is no TFLite model or damaged.
    """
    model = read_model(path)
    return {
        name: [
            grid
            for tensor in graph.tensors
            if constant(model, tensor) is None and (grid := _grid(tensor)) and len(tensor.quantization.scale) == 1
        ]
        for name, graph in _graphs(model).items()
    }


def _graphs(model: Any) -> dict[str, Any]:
    if not model.signatureDefs:
        return {"main": model.subgraphs[0]}
    return {
        signature.signatureKey.decode(): model.subgraphs[signature.subgraphIndex] for signature in model.signatureDefs
    }


def _layers(model: Any, graph: Any) -> list[IntegerLayer]:
    layers = []
    for operator in graph.operators:
        name = operator_name(model, operator)
        if name == "GATHER" and (table := _table(model, graph, operator)) is not None:
            layers.append(table)
        if name not in _TO_TORCH or not _varies(graph, operator.inputs[0]):
            continue
        integers = constant(model, graph.tensors[operator.inputs[1]])
        if integers is not None and integers.dtype == np.int8:
            layers.append(_layer(model, graph, operator, integers.transpose(_TO_TORCH[name])))
    return layers


def _layer(model: Any, graph: Any, operator: Any, integers: NDArray[np.int8]) -> IntegerLayer:
    read, weight = (graph.tensors[index] for index in list(operator.inputs)[:2])
    if not is_quantized(weight):
        raise ValueError("integer weights without a scale")
    scale = np.asarray(weight.quantization.scale, np.float32)
    scale = np.broadcast_to(scale, (len(integers),)).copy()
    grid = _grid(read)
    return IntegerLayer(
        name="",
        weight=np.ascontiguousarray(integers),
        weight_scale=scale,
        bias=_bias(model, graph, operator, grid, scale),
        input=grid,
        output=_grid(graph.tensors[operator.outputs[0]]),
    )


def _table(model: Any, graph: Any, gather: Any) -> IntegerLayer | None:
    stored = graph.tensors[gather.inputs[0]]
    integers = constant(model, stored)
    if integers is None or integers.dtype != np.int8 or integers.ndim != 2 or not is_quantized(stored):
        return None
    if not _varies(graph, gather.inputs[1]):
        return None  # rows that are always the same
    scale = np.full(len(integers), stored.quantization.scale[0], np.float32)
    return IntegerLayer("", integers, scale, bias=None, input=None, output=_grid(graph.tensors[gather.outputs[0]]))


def _varies(graph: Any, index: int) -> bool:
    """Whether a tensor depends on what the graph reads."""
    makers = {int(output): operator for operator in graph.operators for output in operator.outputs}
    read = {int(entry) for entry in graph.inputs}
    return reaches(
        int(index),
        lambda tensor: [int(source) for source in makers[tensor].inputs if source >= 0] if tensor in makers else [],
        lambda tensor: tensor in read,
    )


def _bias(
    model: Any, graph: Any, operator: Any, grid: Grid | None, scale: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    indices = list(operator.inputs)
    if len(indices) < 3 or indices[2] < 0:
        return None
    values = constant(model, graph.tensors[indices[2]])
    if values is None:
        return None
    if values.dtype.kind == "f" or grid is None:
        return values.astype(np.float64)
    return values.astype(np.float64) * grid.scale * scale.astype(np.float64)


def _grid(tensor: Any) -> Grid | None:
    types = schema().TensorType
    if not is_quantized(tensor) or tensor.type not in (types.INT8, types.UINT8):
        return None
    shift = 128 if tensor.type == types.UINT8 else 0
    return Grid(float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]) - shift)
