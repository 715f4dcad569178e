"""Integer weights of 4 bits: kernels compute with them as with those of 8, files hold two in a byte.

A module says so by the grid: a weight that it puts on -7 to 7 is one of 4 bits. Libraries write it in bytes, so each
format packs what it finds of it afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from converters._fold import CONSTANT_KINDS

__all__ = ["is_narrow", "narrow_weights", "unpacked"]

_MOST = 7


def narrow_weights(exported: torch.export.ExportedProgram) -> list[NDArray[np.int8]]:
    """The weights of layers that lie on grids of 4 bits, as integers in the module's layout."""
    specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs if spec.kind in CONSTANT_KINDS}
    stored = {**exported.state_dict, **exported.constants}
    found = []
    for node in exported.graph.nodes:
        if "quantized_decomposed.dequantize_per_channel" not in str(node.target) or node.args[5] != _MOST:
            continue
        integers = _integers(node.args[0], {name: stored[str(spec.target)] for name, spec in specs.items()})
        if integers is not None:
            found.append(integers)
    return found


def is_narrow(values: NDArray[Any], narrow: Sequence[NDArray[np.int8]]) -> bool:
    """Whether a file's constant holds one of these weights, whatever its axes' order."""
    return values.dtype == np.int8 and any(_same(values, one) for one in narrow)


def unpacked(data: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """So many integers of 4 bits out of bytes, the first in the lowest bits."""
    halves = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
    return np.where(halves > _MOST, halves - 16, halves).astype(np.int8)


def _integers(node: fx.Node, known: dict[str, Any]) -> NDArray[np.int8] | None:
    if any(source.name not in known for source in _placeholders(node)):
        return None  # computed on every call
    with torch.no_grad():
        value = known[node.name] if node.op == "placeholder" else _called(node, known)
    integers: NDArray[np.int8] = value.numpy()
    return integers


def _called(node: fx.Node, known: dict[str, Any]) -> torch.Tensor:
    assert callable(node.target)  # noqa: S101  (narrows the type; call_function targets are callable)
    result: torch.Tensor = node.target(*fx.map_arg(node.args, lambda one: known[one.name]))
    return result


def _placeholders(node: fx.Node) -> list[fx.Node]:
    return [node] if node.op == "placeholder" else node.all_input_nodes


def _same(values: NDArray[Any], narrow: NDArray[np.int8]) -> bool:
    if values.size != narrow.size or np.abs(values.astype(np.int16)).max(initial=0) > _MOST:
        return False
    shape = _long(values.shape)
    orders = (narrow.transpose(order) for order in itertools.permutations(range(narrow.ndim)))
    return any(_long(moved.shape) == shape and np.array_equal(moved.ravel(), values.ravel()) for moved in orders)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of length one, which formats add and take off."""
    return tuple(length for length in shape if length > 1)
