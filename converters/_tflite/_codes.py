"""Weights in the few bits that the module spells them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters._codes import Codes, CodesInLayout, codes_like, packed
from converters._errors import ConversionError
from converters._tflite._schema import constant, operator_code, schema

__all__ = ["check_codes", "store_codes"]

_VERSIONS = {2: 7, 4: 6, 8: 5}  # of DEQUANTIZE, by the bits that it reads


def check_codes(codes: Sequence[Codes]) -> None:
    """Refuses what the format cannot hold, before minutes are spent.

    Raises:
        ConversionError: a weight is a palette, or has a scale for each block of a row.
    """
    for one in codes:
        name = one.name or "A weight"
        if one.table is not None:
            raise ConversionError(
                f"{name} is a palette: a TFLite runtime would look every weight up on every call; store it as"
                " WeightOnly(4) or WeightOnly(8), or keep palettes for Core ML."
            )
        if one.block is not None:
            raise ConversionError(
                f"{name} has a scale for every {one.block} weights: TFLite unpacks one a channel; leave block=None."
            )


def store_codes(model: Any, codes: Sequence[Codes]) -> None:
    """Puts a weight's integers in the place of its floats, behind a DEQUANTIZE each; the runtimes unpack them once.

    ::

        before: weight float32 (64, 128) -> FULLY_CONNECTED
        after:  weight int4 (64, 128) -> DEQUANTIZE -> FULLY_CONNECTED
    """
    buffers: dict[int, int] = {}
    for graph in model.subgraphs:
        unpacking = []
        for index in range(len(graph.tensors)):
            tensor = graph.tensors[index]
            floats = constant(model, tensor) if tensor.type == schema().TensorType.FLOAT32 else None
            found = codes_like(floats, codes)
            if found is not None:
                unpacking.append(_put(model, graph, index, found, buffers))
        graph.operators = [*unpacking, *graph.operators]


def _put(model: Any, graph: Any, index: int, found: CodesInLayout, buffers: dict[int, int]) -> Any:
    """Makes tensor ``index`` a computed one, fed by integers; returns the operator that feeds it."""
    tensor, stored = graph.tensors[index], schema().TensorT()
    bits = max(2, found.codes.bits)  # no type holds a sign alone
    if tensor.buffer not in buffers:
        buffer = schema().BufferT()
        buffer.data = packed(found.integers, bits)
        buffers[tensor.buffer] = len(model.buffers)
        model.buffers.append(buffer)
    stored.shape, stored.hasRank = tensor.shape, tensor.hasRank
    types = schema().TensorType
    stored.type = {2: types.INT2, 4: types.INT4, 8: types.INT8}[bits]
    stored.buffer, stored.quantization = buffers[tensor.buffer], _grid(found)
    graph.tensors.append(stored)
    tensor.buffer, tensor.quantization = 0, None
    operator = schema().OperatorT()
    operator.opcodeIndex = operator_code(model, "DEQUANTIZE", _VERSIONS[bits])
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
    return operator


def _grid(found: CodesInLayout) -> Any:
    assert found.scale is not None  # noqa: S101  (palettes were refused)
    grid = schema().QuantizationParametersT()
    grid.scale = found.scale.reshape(-1)
    grid.zeroPoint = np.zeros(found.scale.size, np.int64)
    grid.quantizedDimension = found.axis
    return grid
