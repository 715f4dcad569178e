"""Gives every reader of an integer weight a weight of its own, in memory."""

from __future__ import annotations

from pathlib import Path

from converters._onnx._graph import GraphView, add_constant, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["part_weights"]


def part_weights(path: Path) -> bytes | str:
    """The model in a file, no dequantized weight of it read twice; the path itself where none is.

    onnxruntime's precise mode for old x86 turns each int8 weight into uint8 where a layer reads it, and fails on the
    second reader of a weight that layers share. The file goes on sharing it.
    """
    onnx = onnx_library()
    model = onnx.ModelProto.FromString(path.read_bytes())
    view = GraphView(model.graph)
    nodes = []
    shared = False
    for node in view.nodes:
        nodes.append(node)
        if node.op_type != "DequantizeLinear" or (stored := view.stored(node.input[0])) is None:
            continue
        for reader in view.users[node.output[0]][1:]:
            twin = onnx.NodeProto()
            twin.CopyFrom(node)
            twin.output[0] = f"{node.output[0]}.{len(nodes)}"
            for position, values in ((0, stored), (2, view.zero_point(node))):
                if values is not None:
                    twin.input[position] = add_constant(model.graph, node.input[position], values)
            nodes.append(twin)
            for position, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[position] = twin.output[0]
            shared = True
    if not shared:
        return str(path)
    set_nodes(model.graph, nodes)
    content: bytes = model.SerializeToString()
    return content
