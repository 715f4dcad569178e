"""Weights of 4 bits, two in a byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._codes import packed
from converters._details import Runtime
from converters._narrow import is_narrow
from converters._tflite._schema import constant, operator_code, operator_name, schema

__all__ = ["store_narrow"]

_VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
"""Of the operators whose integer kernels read such weights."""

_MISSING: dict[Runtime, set[str]] = {"2.14": {"FULLY_CONNECTED"}}
"""It knows version 10, but refuses one scale for each channel."""


def store_narrow(model: Any, narrow: Sequence[NDArray[np.int8]], runtime: Runtime | None = None) -> None:
    """Packs the weights that the module has in 4 bits, where their readers' kernels unpack them.

    ::

        before: weight int8 (16, 3, 3, 8), 1152 bytes -> CONV_2D version 3
        after:  weight int4 (16, 3, 3, 8), 576 bytes -> CONV_2D version 7

    For a runtime that has no kernel for them, they stay as they are.
    """
    if not narrow:
        return
    packable = {name for name in _VERSIONS if runtime is None or name not in _MISSING[runtime]}
    wide = _read_elsewhere(model, packable)
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = operator_name(model, operator)
            if name not in packable:
                continue
            weight = graph.tensors[operator.inputs[1]]
            if weight.type == schema().TensorType.INT4:
                continue  # another call of the same layer
            values = constant(model, weight) if weight.buffer not in wide else None
            if values is not None and is_narrow(values, narrow):
                buffer = schema().BufferT()
                buffer.data = packed(values, 4)
                weight.buffer, weight.type = len(model.buffers), schema().TensorType.INT4
                model.buffers.append(buffer)
                operator.opcodeIndex = operator_code(model, name, _VERSIONS[name])


def _read_elsewhere(model: Any, packable: set[str]) -> set[int]:
    """Buffers that something else than such a kernel reads too."""
    return {
        graph.tensors[index].buffer
        for graph in model.subgraphs
        for operator in graph.operators
        for place, index in enumerate(operator.inputs)
        if index >= 0 and (place != 1 or operator_name(model, operator) not in packable)
    } - {0}
