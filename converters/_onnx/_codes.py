"""Weights in the few bits that the module spells them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._codes import Codes, CodesInLayout, codes_like
from converters._errors import ConversionError
from converters._onnx._graph import GraphView, add_constant, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["OPSET_OF_HALF_BYTES", "opset_for", "store_codes"]

OPSET_OF_HALF_BYTES = 21
"""The first opset with 4-bit integers, and with blocks; onnxruntime has it since 1.18."""


def opset_for(codes: Sequence[Codes], opset: int) -> int:
    """The opset, or the first after it that can hold the weights.

    Raises:
        ConversionError: no opset can.
    """
    for one in codes:
        if one.table is not None and one.bits not in (4, 8):
            raise ConversionError(
                f"{one.name or 'A weight'} is a palette of {one.bits} bits: ONNX stores 4 or 8; Core ML has the others."
            )
    needs = any(one.bits == 4 or one.block is not None for one in codes)
    return max(opset, OPSET_OF_HALF_BYTES) if needs else opset


def store_codes(model: Any, codes: Sequence[Codes]) -> None:
    """Puts a weight's integers in the place of its floats, in an ``onnx.ModelProto``.

    ::

        before: weight float32 (64, 128) -> MatMul
        after:  weight int4 (64, 128) -> DequantizeLinear(scale (64,)) -> MatMul
        or:     table float32 (16,), indices uint4 (64, 128) -> Cast -> Gather -> MatMul

    A Cast and a Gather of constants onnxruntime computes once, on loading.
    """
    helper = onnx_library().helper
    view = GraphView(model.graph)
    made = []
    for tensor in list(model.graph.initializer):
        found = codes_like(view.stored(tensor.name), codes) if tensor.name not in view.outputs else None
        if found is None:
            continue
        name = tensor.name
        model.graph.initializer.remove(tensor)
        integers = _add_integers(model.graph, f"{name}.codes", found)
        if found.codes.table is not None:
            table, wide = add_constant(model.graph, f"{name}.table", found.codes.table), f"{name}.indices"
            made.append(helper.make_node("Cast", [integers], [wide], to=onnx_library().TensorProto.INT32))
            made.append(helper.make_node("Gather", [table, wide], [name]))
            continue
        made.append(_dequantizer(model.graph, integers, name, found))
    set_nodes(model.graph, [*made, *view.nodes])


def _dequantizer(graph: Any, integers: str, name: str, found: CodesInLayout) -> Any:
    scale = found.scale
    assert scale is not None  # noqa: S101  (no table: scales)
    shape = found.integers.shape
    blocked = [axis for axis, count in enumerate(scale.shape) if 1 < count < shape[axis]]
    if blocked:
        (axis,) = blocked
        stored = add_constant(graph, f"{name}.scale", scale)
        block = {"block_size": shape[axis] // scale.shape[axis]}
    else:
        axis, block = found.axis, {}
        stored = add_constant(graph, f"{name}.scale", scale.reshape(-1) if scale.size > 1 else scale.reshape(()))
    return onnx_library().helper.make_node("DequantizeLinear", [integers, stored], [name], axis=axis, **block)


def _add_integers(graph: Any, like: str, found: CodesInLayout) -> str:
    """An initializer of integers in as many bits as the codes have, or the next that ONNX knows."""
    onnx = onnx_library()
    integers: NDArray[Any] = np.ascontiguousarray(found.integers)
    name = add_constant(graph, like, integers)
    if found.codes.bits == 4:
        kind = onnx.TensorProto.UINT4 if found.codes.table is not None else onnx.TensorProto.INT4
        flat = integers.reshape(-1).astype(np.uint8) & 0xF
        pairs = np.append(flat, np.zeros(len(flat) % 2, np.uint8)).reshape(-1, 2)
        tensor = graph.initializer[-1]
        tensor.data_type = kind
        tensor.raw_data = (pairs[:, 0] | (pairs[:, 1] << 4)).tobytes()
    return name
