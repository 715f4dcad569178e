"""Takes out of an .onnx file what no runtime reads; not one bit of its answers changes."""

from __future__ import annotations

import hashlib
import itertools
import string
from collections.abc import Iterator
from typing import Any

from converters._onnx._graph import graphs
from converters._onnx._libraries import onnx_library

__all__ = ["rename", "slim"]

_IR_VERSION = 8
"""The oldest that knows the operators of opset 18; runtimes refuse files newer than themselves."""


def slim(model: Any) -> None:
    """Shrinks an ``onnx.ModelProto`` in place.

    Out go metadata (stack traces), shapes of inner values, texts, node names, attributes that repeat their default,
    initializers that are unused or equal to another; inner values get names of one or two letters. Names of inputs and
    outputs stay. So do quantized weights and their zero points: onnxruntime 1.32 refuses some files without the latter
    (it puts a scalar where scales go by channel), and with ``session.x64quantprecision`` files where two
    dequantizations share one of either.
    """
    for graph in graphs(model.graph):
        _drop_notes(graph)
        _drop_defaults(model, graph)
    _merge_constants(model.graph)
    _shorten_names(model.graph)
    _drop_model_notes(model)


def _drop_notes(graph: Any) -> None:
    del graph.value_info[:]
    graph.name = "g"  # the standard wants one
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for node in graph.node:
        node.name = ""
        node.overload = ""


def _drop_model_notes(model: Any) -> None:
    model.doc_string = ""
    model.producer_version = ""
    used = {node.domain for graph in graphs(model.graph) for node in graph.node}
    used |= {node.domain for function in model.functions for node in function.node}
    for entry in list(model.opset_import):
        if entry.domain not in ("", "ai.onnx") and entry.domain not in used:
            model.opset_import.remove(entry)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=99)
    if opset <= 18 and not model.functions:
        model.ir_version = min(model.ir_version, _IR_VERSION)


def _drop_defaults(model: Any, graph: Any) -> None:
    """Attributes that say what the standard says anyway."""
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
    scalars = {tensor.name for tensor in graph.initializer if not tensor.dims}
    for node in graph.node:
        known = _defaults(node, opsets)
        for entry in list(node.attribute):
            value = onnx_library().helper.get_attribute_value(entry)
            one_grid = entry.name == "axis" and node.op_type.endswith("tizeLinear") and node.input[1] in scalars
            if one_grid or (entry.name in known and value == known[entry.name]):
                node.attribute.remove(entry)


def _defaults(node: Any, opsets: dict[str, int]) -> dict[str, Any]:
    onnx = onnx_library()
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:  # an operator outside the standard
        return {}
    known = {
        name: onnx.helper.get_attribute_value(entry.default_value)
        for name, entry in schema.attributes.items()
        if entry.default_value.name
    }
    if node.op_type in ("Conv", "AveragePool", "MaxPool") and not node.domain:
        rank = next((len(entry.ints) for entry in node.attribute if entry.name == "kernel_shape"), 0)
        known |= {"dilations": [1] * rank, "strides": [1] * rank, "pads": [0] * 2 * rank}
    return known


def _merge_constants(graph: Any) -> None:
    """Leaves one of several equal initializers, and none that nobody reads."""
    first: dict[bytes, str] = {}
    replacements = {}
    kept = []
    used = {name for inner in graphs(graph) for node in inner.node for name in node.input}
    used |= {output.name for inner in graphs(graph) for output in inner.output}
    fixed = {value.name for value in (*graph.output, *graph.input)} | _weights_and_zero_points(graph)
    for tensor in graph.initializer:
        if tensor.name not in used:
            continue
        key = _content(tensor)
        if key in first and tensor.name not in fixed:
            replacements[tensor.name] = first[key]
            continue
        first.setdefault(key, tensor.name)
        kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rename(graph, replacements)


def _content(tensor: Any) -> bytes:
    nameless = type(tensor)()
    nameless.CopyFrom(tensor)
    nameless.name = ""
    return hashlib.sha256(nameless.SerializeToString(deterministic=True)).digest()


def _weights_and_zero_points(graph: Any) -> set[str]:
    stored = {tensor.name for tensor in graph.initializer}
    rows = {node.output[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in stored}
    return {
        name
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored | rows
        for name in (node.input[0], *node.input[2:])
    }


def _shorten_names(graph: Any) -> None:
    ends = {value.name for value in (*graph.input, *graph.output)}
    names = (name for name in _short_names() if name not in ends)
    written = itertools.chain.from_iterable(_names(inner) for inner in graphs(graph))
    rename(graph, {name: next(names) for name in dict.fromkeys(written) if name and name not in ends})


def _names(graph: Any) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from node.output


def _short_names() -> Iterator[str]:
    for length in itertools.count(1):
        yield from ("".join(letters) for letters in itertools.product(string.ascii_letters, repeat=length))


def rename(graph: Any, names: dict[str, str]) -> None:
    """Gives values new names, everywhere they are made or read; names are unique over a graph and its inner ones."""
    for inner in graphs(graph):
        for part in (*inner.initializer, *inner.input, *inner.output):
            part.name = names.get(part.name, part.name)
        for node in inner.node:
            for ends in (node.input, node.output):
                for position, name in enumerate(ends):
                    if name in names:
                        ends[position] = names[name]
