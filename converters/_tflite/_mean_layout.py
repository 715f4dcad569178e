"""Averages over height and width without turning the image round first."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._tflite._schema import (
    constant,
    consumers,
    intern_constant,
    operator_name,
    producer,
    shape_of,
)

__all__ = ["average_in_place"]


def average_in_place(model: Any) -> None:
    """Lets a MEAN read the tensor that a TRANSPOSE turned round for it, in place.

    ::

        before: (1, 10, 26, 16) -> TRANSPOSE to (1, 16, 10, 26) -> MEAN over axes 2, 3 -> (1, 16)
        after:  (1, 10, 26, 16) -> MEAN over axes 1, 2 -> (1, 16)

    Only where what is left over keeps its order, so that the same numbers stand in the same places.
    """
    for graph in model.subgraphs:
        for mean in list(graph.operators):
            if operator_name(model, mean) == "MEAN":
                _untranspose(model, graph, mean)


def _untranspose(model: Any, graph: Any, mean: Any) -> None:
    turned = int(mean.inputs[0])
    transpose = producer(graph, turned)
    if transpose is None or operator_name(model, transpose) != "TRANSPOSE" or turned in list(graph.outputs):
        return
    order = constant(model, graph.tensors[transpose.inputs[1]])
    axes = constant(model, graph.tensors[mean.inputs[1]])
    if order is None or axes is None:
        return
    rank = len(shape_of(graph.tensors[turned]))
    averaged = {int(axis) % rank for axis in axes.ravel()}
    left = [int(order[axis]) for axis in range(rank) if axis not in averaged]
    if left != sorted(left) or (mean.builtinOptions.keepDims and not _flatten(model, graph, mean, averaged)):
        return
    source_axes = np.array(sorted(int(order[axis]) for axis in averaged), np.int32)
    mean.inputs = [int(transpose.inputs[0]), intern_constant(model, graph, source_axes)]
    if not consumers(graph, turned):
        graph.operators.remove(transpose)


def _flatten(model: Any, graph: Any, mean: Any, averaged: set[int]) -> bool:
    """Drops the kept axes of length 1 where only a RESHAPE follows, which does not mind."""
    written = int(mean.outputs[0])
    readers = consumers(graph, written)
    if written in list(graph.outputs) or any(operator_name(model, reader) != "RESHAPE" for reader in readers):
        return False
    tensor = graph.tensors[written]
    tensor.shape = [size for axis, size in enumerate(shape_of(tensor)) if axis not in averaged]
    tensor.shapeSignature = None
    mean.builtinOptions.keepDims = False
    return True
