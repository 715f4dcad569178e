"""A dequantizer of its own for each reader that may want another layout."""

from __future__ import annotations

from torch import fx

__all__ = ["part_dequantizers"]

_ONE_LAYOUT = (
    *("adaptive_avg_pool2d", "flatten", "mean", "movedim", "permute", "reshape", "select", "squeeze", "transpose"),
    *("unsqueeze", "view"),
)


def part_dequantizers(graph: fx.Graph) -> None:
    """Copies dequantizers that several such readers share, in place.

    litert-torch 0.10 notes the layout of a value at its dequantizer. When it has turned that value round for one
    reader, it takes it for turned everywhere: the next reader, or the output, gets it channels last.

    ::

        before: dq = dequantize(q); pooled = adaptive_avg_pool2d(dq); return dq, pooled
        after:  dq = dequantize(q); dq_1 = dequantize(q); pooled = adaptive_avg_pool2d(dq_1); return dq, pooled
    """
    for node in list(graph.nodes):
        if _name(node) != "dequantize_per_tensor":
            continue
        readers = [user for user in node.users if user.op == "output" or _name(user) in _ONE_LAYOUT]
        if len(readers) < 2 and not (len(node.users) > 1 and any(user.op == "output" for user in readers)):
            continue
        for reader in readers:
            with graph.inserting_before(node.next):
                twin = graph.node_copy(node)
            reader.replace_input_with(node, twin)
    graph.eliminate_dead_code()


def _name(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else ""
