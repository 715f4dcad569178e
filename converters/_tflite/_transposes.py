"""Images turned into lists of places without turning them round twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._tflite._schema import constant, consumers, intern_constant, operator_name, shape_of

__all__ = ["list_places_in_place"]

_POINTWISE = ("DEQUANTIZE", "LOGISTIC", "QUANTIZE", "RELU", "RELU6", "TANH")


def list_places_in_place(model: Any) -> None:
    """Reads an image's places one after the other as they lie in memory, in place.

    What a module spells ``x.flatten(2).transpose(1, 2)``, with pointwise operators in between or not::

        before: (1, 8, 12, 4) -> TRANSPOSE to (1, 4, 8, 12) -> RESHAPE to (1, 4, 96) -> TRANSPOSE to (1, 96, 4)
        after:  (1, 8, 12, 4) -> RESHAPE to (1, 96, 4)
    """
    for graph in model.subgraphs:
        for transpose in list(graph.operators):
            if operator_name(model, transpose) == "TRANSPOSE":
                _straighten(model, graph, transpose)


def _straighten(model: Any, graph: Any, first: Any) -> None:
    path = _to_next_transpose(model, graph, first)
    reshapes = [operator for operator in path[1:-1] if operator_name(model, operator) == "RESHAPE"]
    if len(reshapes) != 1 or _order(model, graph, first) != [0, 3, 1, 2] or _order(model, graph, path[-1]) != [0, 2, 1]:
        return
    image = shape_of(graph.tensors[first.inputs[0]])
    batch, height, width, channels = image
    if shape_of(graph.tensors[reshapes[0].outputs[0]]) != (batch, channels, height * width):
        return
    listed = [batch, height * width, channels]
    shape = list(image)
    read = int(first.inputs[0])
    for operator in path[1:-1]:
        operator.inputs = [read, *list(operator.inputs)[1:]]
        if operator is reshapes[0]:
            shape = listed
            operator.inputs = [read, intern_constant(model, graph, np.array(listed, np.int32))]
            if operator.builtinOptions is not None:
                operator.builtinOptions.newShape = listed
        read = int(operator.outputs[0])
        graph.tensors[read].shape, graph.tensors[read].shapeSignature = shape, None
    path[-2].outputs = list(path[-1].outputs)
    graph.operators.remove(first)
    graph.operators.remove(path[-1])


def _to_next_transpose(model: Any, graph: Any, first: Any) -> list[Any]:
    """The operators from one transposition to the next, both included; just the first where anything else reads on."""
    path = [first]
    while True:
        end = int(path[-1].outputs[0])
        readers = consumers(graph, end)
        if len(readers) != 1 or end in list(graph.outputs):
            return [first]
        path.append(readers[0])
        name = operator_name(model, readers[0])
        if name == "TRANSPOSE":
            return path
        if name != "RESHAPE" and name not in _POINTWISE:
            return [first]


def _order(model: Any, graph: Any, transpose: Any) -> list[int]:
    order = constant(model, graph.tensors[transpose.inputs[1]])
    return [] if order is None else [int(axis) for axis in order.ravel()]
