"""Which values of traced graphs lie on which integer grids, over all signatures of a model at once.

A value is *placed* on a grid when an integer kernel writes or reads it: what layers read and write (behind a ReLU that
follows), sums and products, and everything that only moves such values. One grid is shared by

* a value and what merely moves or averages it (slices, pads, views, poolings, nearest upsampling);
* the operands of a concatenation that an integer kernel reads, and its result: so the state of a stream, put before
  new values, lies on their grid, and writing it out and reading it back changes nothing;
* all that a shared layer reads, and all that it writes, wherever it is called and in whichever signature;
* what an operator of a shared module writes, each time the module is called;
* what several layers read of one float value, each behind moves of its own: LiteRT's converter rounds it once for all.

A sum or product stays float as soon as one operand comes from an operator that computes in float (layer norm,
softmax, matmul, an embedding, ``KeepFloat``, anything unknown): a pre-norm residual stream is never rounded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping

from torch import fx, nn

from mobiledistill.quantize._modules import ActivationQuantizer
from mobiledistill.quantize._operators import (
    Role,
    feeds_one_activation,
    main_operand,
    module_of,
    role_of,
    tensor_operands,
)

__all__ = ["place_grids"]

_MOVES = ("keep", "average", "join")
"""Roles of operators whose results lie on the grid of what they read."""


def place_grids(traced: Mapping[str, fx.GraphModule], roots: Mapping[str, nn.Module]) -> None:
    """Inserts an ActivationQuantizer behind every value that gets a grid, in place.

    Args:
        traced: the graphs by signature, layers already swapped.
        roots: what each was traced from: tells which modules the signatures share.
    """
    same = _Classes()
    graphs = {name: _Graph(name, graph, same, roots[name]) for name, graph in traced.items()}
    for graph in graphs.values():
        graph.join_classes()
    quantizers: dict[Hashable, ActivationQuantizer] = {}
    for graph in graphs.values():
        graph.insert(quantizers)


class _Classes:
    """Sets of values that share a grid (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        parent = self._parents.setdefault(item, item)
        if parent != item:
            parent = self._parents[item] = self.find(parent)
        return parent

    def join(self, one: Hashable, other: Hashable) -> None:
        self._parents[self.find(one)] = self.find(other)


class _Graph:
    """One signature: which of its values can lie on grids, which do, and where rounding must stand for that."""

    def __init__(self, name: str, traced: fx.GraphModule, same: _Classes, root: nn.Module) -> None:
        self._name, self._traced, self._same, self._root = name, traced, same, root
        self._nodes: list[fx.Node] = list(traced.graph.nodes)
        self._roles: dict[fx.Node, Role] = {node: role_of(traced, node) for node in self._nodes}
        self._operands = {node: self._read_by(node) for node in self._nodes}  # as they were before any rounding
        self._placeable = self._find_placeable()
        self._wanted = self._find_wanted()

    def _find_placeable(self) -> set[fx.Node]:
        placeable: set[fx.Node] = set()
        for node in self._nodes:
            match self._roles[node]:
                case "source" | "layer":
                    placeable.add(node)
                case "activation" | "average" | "keep" | "arithmetic" | "join":
                    if self._operands[node] and placeable.issuperset(self._operands[node]):
                        placeable.add(node)
        return placeable

    def _find_wanted(self) -> set[fx.Node]:
        """The placeable values that an integer kernel writes or reads, from the outputs back to the inputs."""
        wanted: set[fx.Node] = set()
        for node in reversed(self._nodes):
            role = self._roles[node]
            if node not in self._placeable:
                continue
            if role in ("layer", "arithmetic") or (node in wanted and role in _MOVES):
                wanted.update(self._operands[node])
            if role in ("layer", "arithmetic", "activation") and not feeds_one_activation(self._traced, node):
                wanted.add(node)
        return wanted & self._placeable

    def join_classes(self) -> None:
        """Says which values share a grid."""
        for node, key in self._shared_keys().items():
            self._same.join(self._value(node), key)
        for node in self._nodes:
            if node not in self._placeable:
                continue
            role = self._roles[node]
            if role == "layer":
                layer = module_of(self._traced, node)
                self._same.join(self._value(node), ("written", id(layer)))
                for operand in self._operands[node]:
                    self._same.join(self._value(operand), ("read", id(layer)))
            elif role == "activation" and self._roles[self._operands[node][0]] == "layer":
                layer = module_of(self._traced, self._operands[node][0])
                self._same.join(self._value(node), ("activated", id(layer)))
            elif role in ("keep", "average") or (role == "join" and node in self._wanted):
                for operand in self._operands[node]:
                    self._same.join(self._value(operand), self._value(node))

        self._join_readers_of_floats()

    def _join_readers_of_floats(self) -> None:
        read: dict[fx.Node, list[fx.Node]] = defaultdict(list)
        for node in self._nodes:
            if self._roles[node] == "layer":
                for operand in self._operands[node]:
                    for origin in self._float_origins(operand):
                        read[origin].append(operand)
        for first, *others in read.values():
            for other in others:
                self._same.join(self._value(first), self._value(other))

    def _float_origins(self, node: fx.Node) -> set[fx.Node]:
        """Where a float value comes from that was only moved since."""
        if node in self._placeable:
            return set()
        if self._roles[node] not in ("keep", "join"):
            return {node}
        return set().union(*(self._float_origins(operand) for operand in self._operands[node]))

    def _shared_keys(self) -> dict[fx.Node, Hashable]:
        """For sums, products and activations: the module they stand in and their place among those of one call."""
        counts: Counter[Hashable] = Counter()
        keys: dict[fx.Node, Hashable] = {}
        for node in self._nodes:
            if self._roles[node] not in ("arithmetic", "activation", "join"):
                continue
            stack = node.meta.get("nn_module_stack") or {}
            if node.op == "call_module":
                stack = dict(list(stack.items())[:-1])
            call = tuple(stack)
            path = next(reversed(stack.values()))[0] if stack else ""
            keys[node] = ("computed", id(self._root.get_submodule(path)), counts[call])
            counts[call] += 1
        return keys

    def insert(self, quantizers: dict[Hashable, ActivationQuantizer]) -> None:
        """Puts the rounding into the graph; ``quantizers`` holds the one of each class and grows."""
        placed: set[fx.Node] = set()
        for node in self._nodes:
            role = self._roles[node]
            if role == "layer":
                for operand in self._operands[node]:
                    if operand not in self._placeable:
                        self._quantize(operand, quantizers, reader=node)
            if node not in self._placeable:
                continue
            moved = role in _MOVES and placed.issuperset(self._operands[node]) and self._on_one_grid(node)
            if moved or node in self._wanted:
                placed.add(node)
                if role not in ("keep", "join"):
                    self._quantize(node, quantizers)

    def _quantize(
        self, node: fx.Node, quantizers: dict[Hashable, ActivationQuantizer], reader: fx.Node | None = None
    ) -> None:
        """Rounds a value for all that read it, or, a float one, for the one layer that needs it rounded."""
        key = self._same.find(self._value(node))
        quantizer = quantizers.setdefault(key, ActivationQuantizer())
        path = next((name for name, part in self._traced.named_children() if part is quantizer), f"grid_{node.name}")
        if not hasattr(self._traced, path):
            self._traced.add_submodule(path, quantizer)
        graph = self._traced.graph
        known = [user for user in node.users if user.op == "call_module" and user.target == path]
        if reader is None or not known:
            with graph.inserting_after(node):
                known = [graph.call_module(path, (node,))]
        (quantized,) = known
        if reader is None:
            node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user is not quantized)
        else:
            reader.replace_input_with(node, quantized)

    def _value(self, node: fx.Node) -> Hashable:
        return (self._name, node)

    def _on_one_grid(self, node: fx.Node) -> bool:
        """Whether all that a node reads lies on one grid; what it returns then lies there too."""
        return len({self._same.find(self._value(part)) for part in self._operands[node]}) == 1

    def _read_by(self, node: fx.Node) -> list[fx.Node]:
        if self._roles[node] in ("arithmetic", "join"):
            return tensor_operands(node)
        operand = main_operand(node)
        return [] if operand is None else [operand]
