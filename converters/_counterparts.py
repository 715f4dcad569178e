"""Refuses what a format's library has no operator for, before minutes are spent in it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from converters._errors import ConversionError

__all__ = ["first_unknown", "refusal"]


_TAKEN_APART = {
    *("aten.adaptive_avg_pool2d.default", "aten.batch_norm.default", "aten.flatten.using_ints"),
}
"""Where a library does not know these, it knows what they decompose into; to see that costs a second."""


def first_unknown(decomposed: ExportedProgram, is_known: Callable[[fx.Node], bool]) -> fx.Node | None:
    """The first call of an operator that a library does not know.

    Args:
        decomposed: a program whose operators the library would meet, decomposed by its own table.
        is_known: whether the library translates a node.
    """
    nodes: Iterable[fx.Node] = decomposed.graph.nodes
    calls = (node for node in nodes if node.op == "call_function" and node.target is not operator.getitem)
    return next((node for node in calls if str(node.target) not in _TAKEN_APART and not is_known(node)), None)


def refusal(signature: str, unknown: fx.Node, format_name: str) -> ConversionError:
    """Names the operator as the module's author wrote it, and the part of the module that calls it."""
    sources = unknown.meta.get("from_node") or [unknown]
    name = str(sources[0].target).removesuffix(".default")
    parts = [path for path, _ in (unknown.meta.get("nn_module_stack") or {}).values()]
    place = _inside(parts[-1]) if parts else ""
    where = f" (in {place})" if place else ""
    return ConversionError(
        f"Signature {signature!r} cannot become {format_name}: {name}{where} has no counterpart there;"
        " replace that operator in the module, or leave the format out."
    )


def _inside(path: Any) -> str:
    """A module's path without what export wraps around the caller's own module."""
    return str(path).removeprefix("L['self'].").removeprefix("module").removeprefix(".")
