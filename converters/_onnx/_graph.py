"""A graph as this package reads it: who makes a value, who uses it, and which values are constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._integers import Grid
from converters._onnx._libraries import onnx_library
from converters._reach import reaches

__all__ = ["GraphView", "add_constant", "attribute", "graphs", "set_attribute", "set_nodes"]


class GraphView:
    """Makers, users and constants of one graph, as they were when the view was made.

    Args:
        graph: an ``onnx.GraphProto``.
    """

    def __init__(self, graph: Any) -> None:
        onnx = onnx_library()
        self.graph = graph
        self.nodes: list[Any] = list(graph.node)
        self.outputs = {output.name for output in graph.output}
        self.makers: dict[str, Any] = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.users[name].append(node)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._read = {value.name for value in graph.input}
        self._array = onnx.numpy_helper.to_array

    def stored(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer or a Constant node; None for anything else."""
        if name in self._tensors:
            return self._to_numpy(self._tensors[name])
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            value = attribute(maker, "value")
            return None if value is None else self._to_numpy(value)
        return None

    def integers(self, name: str) -> NDArray[Any] | None:
        """Like ``stored``, also through the cast of a weight of 4 bits to one of 8."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "Cast" or attribute(maker, "to") != onnx_library().TensorProto.INT8:
            return self.stored(name)
        values = self.stored(maker.input[0])
        return None if values is None else values.astype(np.int8)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Like ``stored``, also through a cast, a dequantizer or a transposition."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type == "Constant":
            return self.stored(name)
        match maker.op_type:
            case "Identity":
                return self.constant(maker.input[0])
            case "Cast":
                values = self.constant(maker.input[0])
                return None if values is None else values.astype(np.float32)
            case "Transpose":
                values = self.constant(maker.input[0])
                return None if values is None else values.transpose(attribute(maker, "perm"))
            case "DequantizeLinear":
                values, scale = self.stored(maker.input[0]), self.stored(maker.input[1])
                if values is None or scale is None or not _is_zero(self.zero_point(maker)):
                    return None
                return values.astype(np.float64) * scale.astype(np.float64).reshape(
                    _along(values, scale, attribute(maker, "axis", 1))
                )
        return None

    def varies(self, name: str) -> bool:
        """Whether a value depends on what the graph reads."""
        makers = self.makers
        return reaches(
            name, lambda value: makers[value].input if value in makers else (), lambda value: value in self._read
        )

    def zero_point(self, node: Any) -> NDArray[Any] | None:
        """Of a QuantizeLinear or DequantizeLinear; None where it has none, which means zero."""
        return self.stored(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def grid(self, node: Any) -> Grid | None:
        """The grid of a QuantizeLinear or DequantizeLinear of activations; None unless it is one grid of 8 bits."""
        scale, zero_point = self.stored(node.input[1]), self.zero_point(node)
        if scale is None or scale.size != 1:
            return None
        if zero_point is None:  # the standard's default is uint8 with zero point 0
            maker = self.makers.get(node.input[0])
            if node.op_type == "DequantizeLinear":
                return self.grid(maker) if maker is not None and maker.op_type == "QuantizeLinear" else None
            return Grid(float(scale.item()), -128)
        if zero_point.size != 1 or zero_point.dtype not in (np.int8, np.uint8):
            return None
        shift = 128 if zero_point.dtype == np.uint8 else 0
        return Grid(float(scale.item()), int(zero_point.item()) - shift)

    def _to_numpy(self, tensor: Any) -> NDArray[Any]:
        values: NDArray[Any] = self._array(tensor)
        return values


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """A node's attribute as a Python value, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx_library().helper.get_attribute_value(entry)
    return default


def graphs(graph: Any) -> Iterator[Any]:
    """The graph and all that its nodes carry (branches, loop bodies), depth first."""
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in ([entry.g] if entry.HasField("g") else []) + list(entry.graphs):
                yield from graphs(inner)


def add_constant(graph: Any, like: str, values: NDArray[Any]) -> str:
    """Adds an initializer under a new name derived from ``like`` and returns that name."""
    taken = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    taken |= {value.name for value in graph.input}
    name, count = like, 0
    while name in taken:
        count += 1
        name = f"{like}.{count}"
    graph.initializer.append(onnx_library().numpy_helper.from_array(np.array(values, order="C"), name))
    return name


def set_attribute(node: Any, name: str, value: Any) -> None:
    """Gives a node an attribute, in place of the one that it may have."""
    for entry in list(node.attribute):
        if entry.name == name:
            node.attribute.remove(entry)
    node.attribute.append(onnx_library().helper.make_attribute(name, value))


def set_nodes(graph: Any, nodes: list[Any]) -> None:
    """Makes ``nodes`` the graph's nodes, in that order."""
    del graph.node[:]
    graph.node.extend(nodes)


def _is_zero(zero_point: NDArray[Any] | None) -> bool:
    return zero_point is None or not zero_point.any()


def _along(values: NDArray[Any], scale: NDArray[Any], axis: int) -> tuple[int, ...]:
    """The shape in which a scale per channel multiplies the values."""
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    return tuple(shape)
