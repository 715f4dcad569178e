"""Convolutions without what is written around them: a row of an image is a sequence, a pad is an attribute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._onnx._graph import GraphView, add_constant, attribute, set_attribute, set_nodes

__all__ = ["simplify_convolutions"]


def simplify_convolutions(graph: Any) -> None:
    """Quantized convolutions over images of one row become ones over sequences, and take in the padding before them.

    What stands between an integer convolution and its quantizers keeps onnxruntime from computing it in integers.
    """
    _turn_rows_into_sequences(graph)
    _take_in_padding(graph)


def _turn_rows_into_sequences(graph: Any) -> None:
    """Unsqueeze, Conv with a kernel of ``(1, k)``, Squeeze: a Conv with a kernel of ``k``."""
    view = GraphView(graph)
    gone = []
    for conv in view.nodes:
        around = _row_around(view, conv)
        if around is None:
            continue
        before, dequantize, integers, after = around
        dequantize.input[0] = add_constant(graph, dequantize.input[0], integers[:, :, 0])
        for name in ("kernel_shape", "dilations", "strides", "pads"):
            if (given := attribute(conv, name)) is not None:
                set_attribute(conv, name, list(given)[1::2])  # rows and columns in turns
        conv.input[0], conv.output[0] = before.input[0], after.output[0]
        gone += [before, after]
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in gone)])


def _row_around(view: GraphView, conv: Any) -> tuple[Any, Any, NDArray[Any], Any] | None:
    """What makes an image of one row for ``conv``, its weight's dequantizer and integers, what undoes the row."""
    if conv.op_type != "Conv" or conv.output[0] in view.outputs or len(view.users[conv.output[0]]) != 1:
        return None
    before, dequantize = (view.makers.get(name) for name in conv.input[:2])
    (after,) = view.users[conv.output[0]]
    if before is None or dequantize is None:
        return None
    if (before.op_type, dequantize.op_type, after.op_type) != ("Unsqueeze", "DequantizeLinear", "Squeeze"):
        return None
    if len(view.users[before.output[0]]) != 1 or len(view.users[dequantize.output[0]]) != 1:
        return None
    if (
        before.output[0] in view.outputs
        or _axes(view, before) not in ([2], [-2])
        or _axes(view, after) not in ([2], [-2])
    ):
        return None
    integers = view.stored(dequantize.input[0])
    if integers is None or integers.ndim != 4 or integers.shape[2] != 1 or attribute(dequantize, "axis", 1) != 0:
        return None
    pads, strides = attribute(conv, "pads", [0] * 4), attribute(conv, "strides", [1] * 2)
    alone = attribute(conv, "auto_pad", b"NOTSET") == b"NOTSET" and strides[0] == 1 and pads[0] == pads[2] == 0
    return (before, dequantize, integers, after) if alone else None


def _axes(view: GraphView, node: Any) -> list[int]:
    axes = view.stored(node.input[1]) if len(node.input) > 1 else None
    return [] if axes is None else [int(axis) for axis in axes.ravel()]


def _take_in_padding(graph: Any) -> None:
    """Zeros that a Pad puts around what a quantized Conv alone reads become the Conv's own."""
    view = GraphView(graph)
    gone = []
    for conv in view.nodes:
        weight = view.makers.get(conv.input[1]) if conv.op_type == "Conv" else None
        pad = view.makers.get(conv.input[0]) if weight is not None and weight.op_type == "DequantizeLinear" else None
        if pad is None or len(view.users[pad.output[0]]) != 1 or pad.output[0] in view.outputs:
            continue
        added = _zeros_around(view, pad)
        if added is None or attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
            continue
        own = attribute(conv, "pads", [0] * len(added))
        set_attribute(conv, "pads", [int(one + other) for one, other in zip(own, added, strict=True)])
        conv.input[0] = pad.input[0]
        gone.append(pad)
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in gone)])


def _zeros_around(view: GraphView, pad: Any) -> list[int] | None:
    """How many zeros before and behind each spatial axis; None where it is no such padding."""
    if pad.op_type != "Pad" or attribute(pad, "mode", b"constant") != b"constant":
        return None
    amounts = view.stored(pad.input[1])
    value = view.constant(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(())
    if amounts is None or value is None or value.any() or (len(pad.input) > 3 and pad.input[3]):
        return None
    rank = len(amounts) // 2
    before, behind = amounts[:rank], amounts[rank:]
    if amounts.min() < 0 or before[:2].any() or behind[:2].any():
        return None
    return [int(amount) for amount in (*before[2:], *behind[2:])]
