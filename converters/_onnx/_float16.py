"""Stores float weights in half the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._onnx._graph import GraphView, add_constant, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["store_float16"]

_LEAST_ELEMENTS = 32
"""Below this the Cast node costs more bytes than the halving saves."""


def store_float16(model: Any) -> None:
    """Turns float32 initializers of an ``onnx.ModelProto`` into float16 behind a Cast, in place.

    Arithmetic stays float32, so the file runs wherever the float32 one does; onnxruntime casts once, on loading.
    What belongs to a quantized layer (scales, biases) stays as it is, and so do weights beyond float16's range.
    """
    onnx = onnx_library()
    graph = model.graph
    view = GraphView(graph)
    untouched = _of_quantized_layers(view) | view.outputs
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in untouched:
            continue
        values = view.stored(tensor.name)
        if values is None or values.size < _LEAST_ELEMENTS or not (np.abs(values) <= np.finfo(np.float16).max).all():
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        half = add_constant(graph, f"{name}.half", values.astype(np.float16))
        casts.append(onnx.helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    set_nodes(graph, [*casts, *view.nodes])


def _of_quantized_layers(view: GraphView) -> set[str]:
    """Names of scales, and of all that a layer with an integer weight, or the addition behind it, reads."""
    names: set[str] = set()
    for node in view.nodes:
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear"):
            continue
        names.add(node.input[1])
        if node.op_type == "DequantizeLinear" and view.stored(node.input[0]) is not None:
            layers = view.users[node.output[0]]
            behind = [user for layer in layers for user in view.users[layer.output[0]] if user.op_type == "Add"]
            names.update(name for reader in (*layers, *behind) for name in reader.input)
    return names
