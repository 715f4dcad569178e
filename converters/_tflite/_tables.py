"""Tables whose rows are gathered as integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._tflite._schema import (
    constant,
    consumers,
    is_quantized,
    operator_code,
    operator_name,
    producer,
    schema,
    shape_of,
)

__all__ = ["gather_integers"]

_MOST = 127


def gather_integers(model: Any) -> None:
    """Stores a float table in int8 where its rows are quantized right after they are looked up, in place.

    ::

        before: RESHAPE -> EMBEDDING_LOOKUP of a float table (500, 32) -> RESHAPE -> QUANTIZE
        after:  GATHER of an int8 table (500, 32)

    Only where the table lies on the very grid of the QUANTIZE, so that nothing changes but the bytes.
    """
    tables: dict[tuple[int, float], int] = {}
    for graph in model.subgraphs:
        for lookup in list(graph.operators):
            if operator_name(model, lookup) in ("EMBEDDING_LOOKUP", "GATHER"):
                _store(model, graph, lookup, tables)


def _store(model: Any, graph: Any, lookup: Any, tables: dict[tuple[int, float], int]) -> None:
    is_lookup = operator_name(model, lookup) == "EMBEDDING_LOOKUP"
    ids, place = (int(index) for index in (lookup.inputs if is_lookup else reversed(list(lookup.inputs)[:2])))
    table = graph.tensors[place]
    values = constant(model, table)
    path = _to_quantizer(model, graph, lookup)
    if values is None or values.dtype != np.float32 or values.ndim != 2 or not path:
        return
    written = int(path[-1].outputs[0])
    grid = graph.tensors[written].quantization
    if not is_quantized(graph.tensors[written]) or len(grid.scale) != 1 or any(grid.zeroPoint):
        return
    integers = np.round(values / np.float32(grid.scale[0]))
    if np.abs(integers).max() > _MOST or not np.allclose(integers * grid.scale[0], values, rtol=1e-5, atol=1e-9):
        return
    before = producer(graph, ids)
    if before is not None and operator_name(model, before) == "RESHAPE":
        ids = int(before.inputs[0])
    if (*shape_of(graph.tensors[ids]), values.shape[1]) != shape_of(graph.tensors[written]):
        return
    key = (int(table.buffer), float(grid.scale[0]))
    if key not in tables:
        buffer = schema().BufferT()
        buffer.data = integers.astype(np.int8).ravel().view(np.uint8)
        model.buffers.append(buffer)
        tables[key] = len(model.buffers) - 1
    stored = schema().TensorT()
    stored.shape, stored.type, stored.buffer, stored.hasRank = table.shape, schema().TensorType.INT8, tables[key], True
    stored.quantization = grid
    graph.tensors.append(stored)
    gather = schema().OperatorT()
    gather.opcodeIndex = operator_code(model, "GATHER", 2)
    gather.inputs, gather.outputs = [len(graph.tensors) - 1, ids], [written]
    gather.builtinOptionsType = schema().BuiltinOptions.GatherOptions
    gather.builtinOptions = schema().GatherOptionsT()
    graph.operators[graph.operators.index(lookup)] = gather
    for operator in path[1:]:
        graph.operators.remove(operator)
    if before is not None and not consumers(graph, int(before.outputs[0])):
        graph.operators.remove(before)
    if not consumers(graph, place):
        table.buffer = 0


def _to_quantizer(model: Any, graph: Any, lookup: Any) -> list[Any]:
    """The operators from a lookup to the QUANTIZE behind it; empty where anything else reads the rows."""
    path = [lookup]
    while True:
        end = int(path[-1].outputs[0])
        readers = consumers(graph, end)
        if len(readers) != 1 or end in list(graph.outputs):
            return []
        path.append(readers[0])
        name = operator_name(model, readers[0])
        if name == "QUANTIZE":
            return path
        if name != "RESHAPE":
            return []
