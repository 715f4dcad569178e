"""Writes quantized graphs in the spelling that onnxruntime's integer kernels take in.

Each rewriting keeps every number that the graph computes. Without them onnxruntime 1.32 leaves most convolutions and
all additions of a residual network in float, with casts around them, which is slower than no quantization at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._onnx._convolutions import simplify_convolutions
from converters._onnx._graph import GraphView, add_constant, attribute, set_attribute, set_nodes
from converters._onnx._libraries import onnx_library
from converters._onnx._tables import gather_integers

__all__ = ["fuse"]


def fuse(model: Any) -> None:
    """Applies all rewritings to an ``onnx.ModelProto`` in place; a float model only gets its pooling named."""
    graph = model.graph
    _name_pooling(graph)
    _drop_needless_limits(graph)
    _turn_weights(graph)
    simplify_convolutions(graph)
    gather_integers(graph)
    _requantize_moves(graph)
    _store_activations_unsigned(graph)
    _part_weights(graph)
    del graph.value_info[:]  # some say int8 of what is uint8 now


def _name_pooling(graph: Any) -> None:
    """A mean over all spatial axes becomes GlobalAveragePool, the only mean with an integer kernel."""
    onnx = onnx_library()
    view, ranks = GraphView(graph), _ranks(graph)
    nodes = []
    for node in view.nodes:
        if not _is_spatial_mean(view, node, ranks.get(node.input[0], 0) if node.input else 0):
            nodes.append(node)
            continue
        (source,), (target,) = node.input[:1], node.output
        if attribute(node, "keepdims", 1):
            nodes.append(onnx.helper.make_node("GlobalAveragePool", [source], [target]))
            continue
        pooled = f"{target}.pooled"
        nodes.append(onnx.helper.make_node("GlobalAveragePool", [source], [pooled]))
        nodes.append(onnx.helper.make_node("Flatten", [pooled], [target]))
    set_nodes(graph, nodes)


def _is_spatial_mean(view: GraphView, node: Any, rank: int) -> bool:
    if node.op_type != "ReduceMean" or rank < 3:
        return False
    axes = view.stored(node.input[1]) if len(node.input) > 1 else np.array(attribute(node, "axes", []))
    return axes is not None and sorted(int(axis) % rank for axis in axes.ravel()) == list(range(2, rank))


def _ranks(graph: Any) -> dict[str, int]:
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def _drop_needless_limits(graph: Any) -> None:
    """A Relu or Clip goes where the quantizer behind it saturates at the same limits."""
    view = GraphView(graph)
    gone = []
    for node in view.nodes:
        limits = _limits(view, node)
        if limits is None or node.output[0] in view.outputs:
            continue
        users = view.users[node.output[0]]
        if users and all(_saturates_within(view, user, node.output[0], limits) for user in users):
            for user in users:
                user.input[0] = node.input[0]
            gone.append(node)
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in gone)])


def _limits(view: GraphView, node: Any) -> tuple[float, float] | None:
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    found = []
    for position, default in ((1, -np.inf), (2, np.inf)):
        given = len(node.input) > position and node.input[position]
        value = view.stored(node.input[position]) if given else np.array(default)
        if value is None:
            return None
        found.append(float(value.item()))
    return found[0], found[1]


def _saturates_within(view: GraphView, user: Any, name: str, limits: tuple[float, float]) -> bool:
    if user.op_type != "QuantizeLinear" or user.input[0] != name:
        return False
    grid = view.grid(user)
    if grid is None:
        return False
    low, high = ((end - grid.zero_point) * grid.scale for end in (-128, 127))
    return limits[0] <= low and high <= limits[1]


_MOVERS = ("Concat", "DepthToSpace", "MaxPool", "Pad", "Resize", "Slice")
_INTEGER_READERS = (
    "Add",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "Mul",
    "Reshape",
    "Transpose",
    *_MOVERS,
)


def _requantize_moves(graph: Any) -> None:
    """Puts a quantizer and its dequantizer behind what moves values of one grid: onnxruntime then moves integers.

    Values that lie on a grid already do not change by it. Without it a concatenation, and the convolution behind it,
    run in float.
    """
    onnx = onnx_library()
    view = GraphView(graph)
    dequantizers = {name: node for name, node in view.makers.items() if node.op_type == "DequantizeLinear"}
    nodes = []
    for node in view.nodes:
        nodes.append(node)
        grid = _moved_grid(view, node, dequantizers)
        if grid is None or not _leads_to_integers(view, node):
            continue
        end = node.output[0]
        moved, stored = f"{end}.moved", f"{end}.integers"
        node.output[0] = moved
        back = onnx.helper.make_node("DequantizeLinear", [stored, *grid.input[1:]], [end])
        nodes += [onnx.helper.make_node("QuantizeLinear", [moved, *grid.input[1:]], [stored]), back]
        dequantizers[end] = back
    set_nodes(graph, nodes)


def _moved_grid(view: GraphView, node: Any, dequantizers: dict[str, Any]) -> Any | None:
    """A dequantizer of the one grid that all moved values lie on, None where they do not."""
    if node.op_type not in _MOVERS or len(node.output) != 1 or _averages(node):
        return None
    moved = list(node.input) if node.op_type == "Concat" else [node.input[0]]
    makers = [dequantizers.get(name) for name in moved]
    if any(maker is None or view.stored(maker.input[0]) is not None for maker in makers):
        return None
    grids = {view.grid(maker) for maker in makers}
    return makers[0] if len(grids) == 1 and None not in grids else None


def _averages(node: Any) -> bool:
    return bool(node.op_type == "Resize" and attribute(node, "mode", b"nearest") != b"nearest")


def _leads_to_integers(view: GraphView, node: Any) -> bool:
    end = node.output[0]
    return end in view.outputs or any(user.op_type in _INTEGER_READERS for user in view.users[end])


def _turn_weights(graph: Any) -> None:
    """Stores an integer matrix the way its MatMul or Gemm reads it, instead of transposing it on every call."""
    view = GraphView(graph)
    gone = []
    for node in view.nodes:
        maker = view.makers.get(node.input[0]) if node.op_type == "Transpose" else None
        if maker is None or maker.op_type != "DequantizeLinear" or len(view.users[maker.output[0]]) != 1:
            continue
        integers, permutation = view.stored(maker.input[0]), attribute(node, "perm")
        zero_point = view.zero_point(maker)
        if integers is None or permutation is None or node.output[0] in view.outputs:
            continue
        if zero_point is not None and zero_point.size > 1 and zero_point.any():
            continue
        maker.input[0] = add_constant(graph, maker.input[0], integers.transpose(permutation))
        axis = list(permutation).index(attribute(maker, "axis", 1) % integers.ndim)
        set_attribute(maker, "axis", axis)
        maker.output[0] = node.output[0]
        gone.append(node)
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in gone)])


def _store_activations_unsigned(graph: Any) -> None:
    """Shifts int8 activations to uint8; the kernels for x86 and the web want those, and others take either."""
    view = GraphView(graph)
    for node in view.nodes:
        zero_point = view.zero_point(node) if node.op_type == "QuantizeLinear" else None
        if zero_point is None or zero_point.dtype != np.int8:
            continue
        readers = view.users[node.output[0]]
        if node.output[0] in view.outputs or not all(_reads_grid_of(view, reader, node) for reader in readers):
            continue
        shifted = add_constant(graph, node.input[2], (zero_point.astype(np.int16) + 128).astype(np.uint8))
        for quantizer in (node, *readers):
            quantizer.input[2] = shifted
    set_nodes(graph, view.nodes)


def _reads_grid_of(view: GraphView, reader: Any, quantizer: Any) -> bool:
    if reader.op_type != "DequantizeLinear":
        return False
    zero_point = view.zero_point(reader)
    return zero_point is not None and np.array_equal(zero_point, view.stored(quantizer.input[2]))  # type: ignore[arg-type]


def _part_weights(graph: Any) -> None:
    """One dequantization a weight: onnxruntime's precise mode for old x86 refuses shared weights and zero points.

    Equal dequantizations become one; others that read one weight with scales of their own get a copy each. Rows of a
    table count as weights, since onnxruntime computes those that are always the same beforehand.
    """
    view = GraphView(graph)
    first: dict[tuple[str, ...], str] = {}
    same: dict[str, str] = {}
    taken: set[str] = set()
    nodes = []
    for node in view.nodes:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type != "DequantizeLinear" or not _reads_weight(view, node):
            nodes.append(node)
            continue
        reads = (*node.input, str(attribute(node, "axis", 1)))
        if reads in first and node.output[0] not in view.outputs:
            same[node.output[0]] = first[reads]
            continue
        first[reads] = node.output[0]
        for place, name in enumerate(node.input):
            if place != 1 and name in taken and (values := view.stored(name)) is not None:
                node.input[place] = add_constant(graph, name, values)
            taken.add(node.input[place])
        nodes.append(node)
    set_nodes(graph, nodes)


def _reads_weight(view: GraphView, dequantize: Any) -> bool:
    name = dequantize.input[0]
    source = view.makers.get(name)
    if source is not None and source.op_type == "Gather":
        name = source.input[0]
    return view.stored(name) is not None
