"""Drops what a .tflite file carries and no runtime reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters._tflite._schema import schema, shape_of

__all__ = ["slim"]


def slim(model: Any) -> None:
    """Takes the waste out of a model, in place; what it computes stays, bit by bit.

    ::

        before: tensor "net.Net;;net.Net/net.QConv_c4;1"  buffer 21 (empty)   metadata min_runtime_version
        after:  tensor ""                                 buffer 0            none

    Signature names and the names of graph inputs and outputs stay, for users call by them.
    """
    model.description = None
    model.metadata = model.metadataBuffer = None
    for graph in model.subgraphs:
        graph.name = None
        _drop_names(graph)
        for operator in graph.operators:
            _drop_empty_lists(operator)
        for tensor in graph.tensors:
            _slim_quantization(tensor)
            tensor.hasRank = tensor.hasRank and not shape_of(tensor)  # only tells a scalar from an unknown shape
    _merge_buffers(model)
    for index, graph in enumerate(model.subgraphs):
        _keep_tensors(model, index, graph)
    _keep_operator_codes(model)


def _drop_names(graph: Any) -> None:
    public = {int(index) for index in [*graph.inputs, *graph.outputs]}
    for index, tensor in enumerate(graph.tensors):
        if index not in public:
            tensor.name = None


def _drop_empty_lists(operator: Any) -> None:
    """Lists that most operators leave empty, and options without any field of their own."""
    for attribute in ("intermediates", "mutatingVariableInputs", "customOptions"):
        value = getattr(operator, attribute)
        if value is not None and len(value) == 0:
            setattr(operator, attribute, None)
    if operator.builtinOptions is not None and not vars(operator.builtinOptions):
        operator.builtinOptions, operator.builtinOptionsType = None, 0


def _slim_quantization(tensor: Any) -> None:
    """Min and max served the calibration; without scales there is nothing to keep."""
    quantization = tensor.quantization
    if quantization is None:
        return
    quantization.min = quantization.max = None
    if quantization.scale is None or len(quantization.scale) == 0:
        tensor.quantization = None


def _merge_buffers(model: Any) -> None:
    """Gives equal constants one buffer and everything that is computed buffer 0, the empty one."""
    kept, places = [schema().BufferT()], {b"": 0}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
            if content not in places:
                places[content] = len(kept)
                kept.append(model.buffers[tensor.buffer])
            tensor.buffer = places[content]
    model.buffers = kept


def _keep_tensors(model: Any, index: int, graph: Any) -> None:
    """Drops tensors that nothing reads or writes and merges equal constants."""
    public = [int(tensor) for tensor in [*graph.inputs, *graph.outputs]]
    used = {int(tensor) for operator in graph.operators for tensor in [*operator.inputs, *operator.outputs]}
    places: dict[Any, int] = {}
    moved = {-1: -1}
    kept: list[Any] = []
    for old in sorted(used.union(public) - {-1}):
        tensor = graph.tensors[old]
        key = old if old in public or not tensor.buffer or tensor.isVariable else _constant_key(tensor)
        if key not in places:
            places[key] = len(kept)
            kept.append(tensor)
        moved[old] = places[key]
    graph.tensors = kept
    _renumber(model, index, graph, lambda tensor: moved[int(tensor)])


def _renumber(model: Any, index: int, graph: Any, moved: Callable[[Any], int]) -> None:
    graph.inputs = [moved(tensor) for tensor in graph.inputs]
    graph.outputs = [moved(tensor) for tensor in graph.outputs]
    for operator in graph.operators:
        operator.inputs = [moved(tensor) for tensor in operator.inputs]
        operator.outputs = [moved(tensor) for tensor in operator.outputs]
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == index:
            for entry in [*signature.inputs, *signature.outputs]:
                entry.tensorIndex = moved(entry.tensorIndex)


def _constant_key(tensor: Any) -> tuple[Any, ...]:
    quantization = tensor.quantization
    grid = None
    if quantization is not None:
        zero_points = None if quantization.zeroPoint is None else tuple(quantization.zeroPoint)
        grid = (tuple(quantization.scale), zero_points, quantization.quantizedDimension)
    return tensor.type, shape_of(tensor), tensor.buffer, grid, tensor.sparsity is None


def _keep_operator_codes(model: Any) -> None:
    kept: list[Any] = []
    places: dict[int, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator.opcodeIndex not in places:
                places[operator.opcodeIndex] = len(kept)
                kept.append(model.operatorCodes[operator.opcodeIndex])
            operator.opcodeIndex = places[operator.opcodeIndex]
    model.operatorCodes = kept
