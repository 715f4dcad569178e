"""Weights of 4 bits, two in a byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._codes import packed
from converters._narrow import is_narrow
from converters._onnx._graph import GraphView, add_constant, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["FIRST_OPSET", "store_narrow"]

FIRST_OPSET = 21
"""With integers of 4 bits; onnxruntime has them since 1.18."""


def store_narrow(model: Any, narrow: Sequence[NDArray[np.int8]]) -> None:
    """Packs the weights that the module has in 4 bits, in an ``onnx.ModelProto``.

    ::

        before: weight int8 (16, 8, 3, 3) -> DequantizeLinear -> Conv
        after:  weight int4 (16, 8, 3, 3) -> Cast to int8 -> DequantizeLinear -> Conv

    onnxruntime computes the Cast once, on loading, and its integer kernels then find the weight that they know.
    """
    view, types = GraphView(model.graph), onnx_library().TensorProto
    unpacking: list[Any] = []
    for tensor in list(model.graph.initializer):
        readers = view.users[tensor.name]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            continue
        values = view.stored(tensor.name)
        if values is None or not is_narrow(values, narrow):
            continue
        model.graph.initializer.remove(tensor)
        stored = add_constant(model.graph, f"{tensor.name}.packed", values)
        model.graph.initializer[-1].data_type = types.INT4
        model.graph.initializer[-1].raw_data = packed(values, 4).tobytes()
        unpacking.append(onnx_library().helper.make_node("Cast", [stored], [tensor.name], to=types.INT8))
    set_nodes(model.graph, [*unpacking, *view.nodes])
