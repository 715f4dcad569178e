"""Weights that a module computes from a few bits each, found in its program, so that files store the bits.

A module that quantizes its weights alone spells them out in its forward pass: integers times scales, or indices into a
table. A converter's library computes such constants and stores floats. So they are computed here, the library sees
plain weights, and afterwards each format puts the module's own integers in their place.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from converters._fold import CONSTANT_KINDS, store_constant

__all__ = ["Codes", "CodesInLayout", "codes_like", "fold_codes", "packed"]


@dataclass(frozen=True, eq=False)
class Codes:
    """One weight as the module spells it: ``integers * scale``, or ``table[integers]``.

    Attributes:
        name: the path of the weight's owner in the module.
        values: float32, as layers read them.
        integers: int8, or uint8 with a table; the shape of ``values``.
        scale: as many axes as ``values``, along each as many entries as there are blocks; None with a table.
        table: the 2, 4, ... 256 values that occur; None with scales.
        bits: that an integer takes.
    """

    name: str
    values: NDArray[np.float32]
    integers: NDArray[np.integer]
    scale: NDArray[np.float32] | None
    table: NDArray[np.float32] | None
    bits: int

    @property
    def block(self) -> int | None:
        """How many weights of a row share a scale; None where a whole channel does."""
        if self.scale is None:
            return None
        lengths = zip(self.values.shape, self.scale.shape, strict=True)
        return next((length // count for length, count in lengths if 1 < count < length), None)


@dataclass(frozen=True, eq=False)
class CodesInLayout:
    """A weight's codes as a file lays the weight out.

    Attributes:
        codes: the weight.
        integers: in the file's shape.
        scale: in the file's axes; None with a table.
    """

    codes: Codes
    integers: NDArray[np.integer]
    scale: NDArray[np.float32] | None

    @property
    def axis(self) -> int:
        """Along which the scales go, where they go along one."""
        shape = () if self.scale is None else self.scale.shape
        return next((axis for axis, length in enumerate(shape) if length > 1), 0)


def packed(integers: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Integers of 2, 4 or 8 bits in bytes, the first in the lowest bits."""
    per_byte = 8 // bits
    flat = integers.reshape(-1).astype(np.int8).view(np.uint8) & (2**bits - 1)
    rows = np.append(flat, np.zeros(-len(flat) % per_byte, np.uint8)).reshape(-1, per_byte)
    joined: NDArray[np.uint8] = np.bitwise_or.reduce(rows << (bits * np.arange(per_byte, dtype=np.uint8)), axis=1)
    return joined


def fold_codes(exported: torch.export.ExportedProgram) -> list[Codes]:
    """Computes every weight that a program spells out in codes, in place, and tells what it was made of.

    ::

        before: codes (int8) -> to(float32) -> mul(scale) -> linear
        after:  weight (float32) -> linear
    """
    graph = exported.graph_module.graph
    specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs if spec.kind in CONSTANT_KINDS}
    stored = {**exported.state_dict, **exported.constants}
    known = {name: stored[str(spec.target)] for name, spec in specs.items() if str(spec.target) in stored}
    computed = _computed(graph, known)
    found: dict[str, list[tuple[fx.Node, Codes]]] = defaultdict(list)
    for node, value in computed.items():
        if all(user in computed for user in node.users):
            continue
        sources = _sources(node)
        codes = _codes(value, [(str(specs[name].target), known[name]) for name in sources if name in known])
        if codes is not None:
            whole = next(name for name in sources if not known[name].is_floating_point())
            found[whole].append((node, codes))
    folded = []
    for name, places in found.items():
        (_, first), *others = places
        if any(not np.array_equal(first.values, other.values) for _, other in others):
            continue
        placeholder = next(node for node in graph.find_nodes(op="placeholder") if node.name == name)
        if _read_otherwise(placeholder, {node for node, _ in places}, computed):
            continue
        store_constant(exported, name, torch.from_numpy(first.values))
        placeholder.meta["val"] = places[0][0].meta["val"]
        for node, _ in places:
            node.replace_all_uses_with(placeholder)
        folded.append(first)
    if folded:
        _erase_claims(graph, {*computed, *(n for n in graph.find_nodes(op="placeholder") if n.name in known)})
        graph.eliminate_dead_code()
        exported.graph_module.recompile()
    return folded


def codes_like(values: NDArray[Any] | None, known: Sequence[Codes]) -> CodesInLayout | None:
    """The codes of a file's float constant, whatever its axes' order or width; None where it is no weight in codes."""
    if values is None or values.dtype not in (np.float32, np.float16) or values.ndim == 0:
        return None
    for codes in known:
        if codes.values.size != values.size:
            continue
        for order in itertools.permutations(range(codes.values.ndim)):
            moved = codes.values.transpose(order).astype(values.dtype)
            if _long(moved.shape) == _long(values.shape) and np.array_equal(moved.reshape(values.shape), values):
                integers = codes.integers.transpose(order).reshape(values.shape)
                scale = None if codes.scale is None else codes.scale.transpose(order)
                return CodesInLayout(
                    codes, integers, None if scale is None else _like(scale, moved.shape, values.shape)
                )
    return None


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of length one, which formats add and take off."""
    return tuple(length for length in shape if length > 1)


def _like(scale: NDArray[np.float32], shape: tuple[int, ...], wanted: tuple[int, ...]) -> NDArray[np.float32]:
    """Scales with axes of length one where the weight got them."""
    counts = iter([blocks for blocks, length in zip(scale.shape, shape, strict=True) if length > 1])
    return scale.reshape([next(counts) if length > 1 else 1 for length in wanted])


def _computed(graph: fx.Graph, known: dict[str, Any]) -> dict[fx.Node, torch.Tensor]:
    """The results of operators that read constants alone."""
    values: dict[fx.Node, Any] = {n: known[n.name] for n in graph.nodes if n.op == "placeholder" and n.name in known}
    constants = dict(values)
    for node in graph.nodes:
        sources = node.all_input_nodes
        if node.op != "call_function" or not sources or any(source not in values for source in sources):
            continue
        if all(source in constants and values[source].is_floating_point() for source in sources):
            continue  # floats from floats: not what codes are spelled in
        with torch.no_grad():
            result = node.target(*fx.map_arg(node.args, values.__getitem__), **node.kwargs)
        if isinstance(result, torch.Tensor):
            values[node] = result
    return {node: value for node, value in values.items() if node not in constants}


def _read_otherwise(node: fx.Node, ends: Collection[fx.Node], computed: Mapping[fx.Node, torch.Tensor]) -> bool:
    """Whether anything but these results is computed of the integers, so that they must stay what they are."""
    claim = torch.ops.aten._assert_tensor_metadata.default
    return any(
        user not in ends
        and user.target is not claim
        and (user not in computed or _read_otherwise(user, ends, computed))
        for user in node.users
    )


def _erase_claims(graph: fx.Graph, about: set[fx.Node]) -> None:
    """Takes out what torch.export says of the integers' types."""
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default and node.all_input_nodes[0] in about:
            graph.erase_node(node)


def _sources(node: fx.Node) -> list[str]:
    """The placeholders that a constant is computed from."""
    found: dict[str, None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.op == "placeholder":
            found[one.name] = None
        waiting += one.all_input_nodes
    return list(found)


def _codes(value: torch.Tensor, sources: list[tuple[str, torch.Tensor]]) -> Codes | None:
    """What a constant is made of, proven by making it again."""
    whole = [(path, one) for path, one in sources if one.dtype in (torch.int8, torch.uint8)]
    floats = [one.detach().float().numpy() for _, one in sources if one.is_floating_point()]
    if value.dtype != torch.float32 or len(whole) != 1 or len(floats) != 1 or len(sources) != 2:
        return None
    (path, integers), (other,) = whole[0], floats
    values, name = value.numpy(), path.removeprefix("module.").rpartition(".")[0].removesuffix(".code")
    if integers.numel() != values.size:
        return None
    numbers = integers.numpy().reshape(values.shape)
    if integers.dtype == torch.uint8:
        if other.ndim != 1 or numbers.max() >= len(other) or not np.array_equal(other[numbers], values):
            return None
        return Codes(name, values, numbers, None, other, max(1, int(len(other) - 1).bit_length()))
    by_blocks = other.ndim == values.ndim + 1 and other.shape[-1] == 1
    blocks = other if other.ndim == values.ndim else other[..., 0] if by_blocks else None
    if blocks is None or any(length % count for length, count in zip(values.shape, blocks.shape, strict=True)):
        return None
    spread = blocks
    for axis, (length, count) in enumerate(zip(values.shape, blocks.shape, strict=True)):
        spread = spread.repeat(length // count, axis)
    if not np.array_equal(numbers.astype(np.float32) * spread, values):
        return None
    sizes = np.abs(numbers.astype(np.int16))
    bits = next(bits for bits, most in ((2, 1), (4, 7), (8, 128)) if sizes.max(initial=0) <= most)
    return Codes(name, values, numbers, blocks, None, 1 if bits == 2 and sizes.min(initial=1) == 1 else bits)
