"""Float constants in half the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._tflite._schema import constant, operator_code, schema

__all__ = ["store_float16"]

_LEAST_VALUES = 64  # below that, the DEQUANTIZE operator costs more bytes than it saves
_LARGEST = float(np.finfo(np.float16).max)


def store_float16(model: Any) -> None:
    """Stores float32 constants as float16 behind a DEQUANTIZE each, in place; the runtimes unpack them once.

    ::

        before: weight float32 (16, 3, 3, 8) = 4608 bytes -> CONV_2D
        after:  weight float16 (16, 3, 3, 8) = 2304 bytes -> DEQUANTIZE -> CONV_2D

    Constants with values that float16 cannot hold, and those too small to be worth it, stay float32.
    """
    halves: dict[int, int] = {}
    for graph in model.subgraphs:
        unpacking = []
        for index in range(len(graph.tensors)):
            values = _worth_halving(model, graph.tensors[index])
            if values is not None:
                unpacking.append(_halve(model, graph, index, values, halves))
        graph.operators = [*unpacking, *graph.operators]


def _worth_halving(model: Any, tensor: Any) -> Any:
    if tensor.type != schema().TensorType.FLOAT32:
        return None
    values = constant(model, tensor)
    if values is None or values.size < _LEAST_VALUES or not np.all(np.abs(values) <= _LARGEST):
        return None
    return values


def _halve(model: Any, graph: Any, index: int, values: Any, halves: dict[int, int]) -> Any:
    """Makes tensor ``index`` a computed one, fed by a float16 constant; returns the operator that feeds it."""
    tensor, half = graph.tensors[index], schema().TensorT()
    if tensor.buffer not in halves:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(values.astype(np.float16).tobytes(), np.uint8)
        halves[tensor.buffer] = len(model.buffers)
        model.buffers.append(buffer)
    half.shape, half.hasRank = tensor.shape, tensor.hasRank
    half.type, half.buffer = schema().TensorType.FLOAT16, halves[tensor.buffer]
    graph.tensors.append(half)
    tensor.buffer = 0
    operator = schema().OperatorT()
    operator.opcodeIndex = operator_code(model, "DEQUANTIZE", 3)
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
    return operator
