"""Tables whose rows are gathered as integers."""

from __future__ import annotations

from typing import Any

from converters._onnx._graph import GraphView, set_nodes

__all__ = ["gather_integers"]


def gather_integers(graph: Any) -> None:
    """Looks rows up in a stored table of integers before they are dequantized, in place.

    ::

        before: table (int8) -> DequantizeLinear -> Gather -> QuantizeLinear -> DequantizeLinear, all on one grid
        after:  table (int8) -> Gather -> DequantizeLinear
    """
    view = GraphView(graph)
    gone: list[Any] = []
    for gather in view.nodes:
        table = view.makers.get(gather.input[0]) if gather.op_type == "Gather" else None
        quantize = _only_reader(view, gather.output[0]) if table is not None else None
        back = _only_reader(view, quantize.output[0]) if quantize is not None else None
        if table is None or quantize is None or back is None:
            continue
        kinds = (table.op_type, quantize.op_type, back.op_type)
        if kinds != ("DequantizeLinear", "QuantizeLinear", "DequantizeLinear"):
            continue
        grids = {_stored_grid(view, node) for node in (table, quantize, back)}
        if len(grids) != 1 or None in grids or view.stored(table.input[0]) is None:
            continue
        gather.input[0] = table.input[0]
        back.input[0] = gather.output[0]
        gone.append(quantize)
        if all(
            reader.op_type == "Gather" and reader.input[0] == table.input[0] for reader in view.users[table.output[0]]
        ):
            gone.append(table)
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in gone)])


def _only_reader(view: GraphView, name: str) -> Any | None:
    readers = view.users[name]
    return readers[0] if len(readers) == 1 and name not in view.outputs else None


def _stored_grid(view: GraphView, node: Any) -> tuple[float, str, int] | None:
    """Scale, type and zero point as they stand in the file; None where they are not one number each."""
    scale, zero_point = view.stored(node.input[1]), view.zero_point(node)
    if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
        return None
    return float(scale.item()), zero_point.dtype.name, int(zero_point.item())
