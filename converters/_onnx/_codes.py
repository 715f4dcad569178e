"""Weights in the few bits that the module spells them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._codes import Codes, CodesInLayout, codes_like, packed
from converters._errors import ConversionError
from converters._onnx._graph import GraphView, add_constant, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["opset_for", "store_codes"]

_FIRST_OPSETS = {1: 25, 2: 25, 4: 21, 8: 0}
"""With integers of so many bits; onnxruntime has 4 since 1.18 and 2 since 1.24."""


def opset_for(codes: Sequence[Codes], opset: int) -> int:
    """The opset, or the first after it that can hold the weights.

    Raises:
        ConversionError: no opset can.
    """
    for one in codes:
        if one.table is not None and one.bits not in (2, 4, 8):
            raise ConversionError(
                f"{one.name or 'A weight'} is a palette of {one.bits} bits: ONNX stores 2, 4 or 8; Core ML has the"
                " others."
            )
    return max([opset, *(_FIRST_OPSETS[one.bits] for one in codes)])


def store_codes(model: Any, codes: Sequence[Codes]) -> None:
    """Puts a weight's integers in the place of its floats, in an ``onnx.ModelProto``.

    ::

        before: weight float32 (64, 128) -> MatMul
        after:  weight int4 (64, 128) -> Cast -> Mul by scale (64, 1) -> MatMul
        or:     indices uint4 (64, 128) -> Cast -> Gather of table (16,) -> MatMul

    All of that reads constants, so onnxruntime computes it once, on loading. A DequantizeLinear says the same, but it
    leaves that one to be computed on every call (0.53 instead of 0.33 ms on a small network).
    """
    view = GraphView(model.graph)
    made: list[Any] = []
    for tensor in list(model.graph.initializer):
        found = codes_like(view.stored(tensor.name), codes) if tensor.name not in view.outputs else None
        if found is not None:
            model.graph.initializer.remove(tensor)
            made += _unpacking(model.graph, tensor.name, found)
    set_nodes(model.graph, [*made, *view.nodes])


def _unpacking(graph: Any, name: str, found: CodesInLayout) -> list[Any]:
    """The nodes that make the floats of the value ``name`` from its integers."""
    node, types = onnx_library().helper.make_node, onnx_library().TensorProto
    integers, wide = _add_integers(graph, f"{name}.codes", found), f"{name}.wide"
    if found.codes.table is not None:
        table = add_constant(graph, f"{name}.table", found.codes.table)
        return [node("Cast", [integers], [wide], to=types.INT32), node("Gather", [table, wide], [name])]
    assert found.scale is not None  # noqa: S101  (no table: scales)
    nodes = [node("Cast", [integers], [wide], to=types.FLOAT)]
    shape = found.integers.shape
    if found.codes.block is None:
        scale = add_constant(graph, f"{name}.scale", found.scale)
        return [*nodes, node("Mul", [wide, scale], [name])]
    apart = [size for length, count in zip(shape, found.scale.shape, strict=True) for size in (count, length // count)]
    spread = [size for count in found.scale.shape for size in (count, 1)]
    scale = add_constant(graph, f"{name}.scale", found.scale.reshape(spread))
    parts, whole = (add_constant(graph, f"{name}.{i}", np.array(s, np.int64)) for i, s in enumerate((apart, shape)))
    nodes.append(node("Reshape", [wide, parts], [f"{name}.blocks"]))
    nodes.append(node("Mul", [f"{name}.blocks", scale], [f"{name}.scaled"]))
    return [*nodes, node("Reshape", [f"{name}.scaled", whole], [name])]


def _add_integers(graph: Any, like: str, found: CodesInLayout) -> str:
    """An initializer of integers in as many bits as the codes have, or the next that ONNX knows."""
    onnx = onnx_library()
    integers: NDArray[Any] = np.ascontiguousarray(found.integers)
    name = add_constant(graph, like, integers)
    bits = max(2, found.codes.bits)  # no type holds a sign alone
    if bits < 8:
        types, tensor = onnx.TensorProto, graph.initializer[-1]
        signed, unsigned = {2: (types.INT2, types.UINT2), 4: (types.INT4, types.UINT4)}[bits]
        tensor.data_type = signed if found.codes.table is None else unsigned
        tensor.raw_data = packed(integers, bits).tobytes()
    return name
