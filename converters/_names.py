"""What a value of a traced module is called in messages: by the module path of its layer, or by its operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from converters._reach import reaches

__all__ = ["layer_name", "path_of"]

ConstantPath = Callable[[fx.Node], str | None]


def layer_name(node: fx.Node, constant_path: ConstantPath) -> str:
    """``blocks.0.conv (conv2d)`` for what has weights or a module of its own, else ``add behind 'blocks.0.conv'``.

    Args:
        node: what varies with the inputs; of a grid the name is that of what is put on it.
        constant_path: the path of a node that holds a parameter or a buffer, None for any other node.
    """
    node = _before_grids(node, constant_path)
    if node.op == "placeholder":
        return constant_path(node) or f"input {node.name!r}"
    target: Any = node.target
    kind = str(target._schema.name.partition("::")[2]) if hasattr(target, "_schema") else node.name
    path = _owner(node, constant_path)
    if path:
        return f"{path} ({kind})"
    source = node
    while not path and source.all_input_nodes:
        source = _before_grids(_source(source, constant_path), constant_path)
        path = source.name if source.op == "placeholder" else _owner(source, constant_path)
    return f"{kind} behind {path!r}" if path else kind


def path_of(target: str) -> str:
    """A parameter's path in the user's module, without the wrappers that exporting puts around it."""
    return target.removeprefix("module.").removeprefix("program.module.")


def _owner(node: fx.Node, constant_path: ConstantPath) -> str:
    """The module path of a node: that of the weights it reads, or of the module whose forward it stands in."""
    waiting = [source for source in node.all_input_nodes if not _varies(source, constant_path)]
    while waiting:
        source = waiting.pop(0)
        path = constant_path(source)
        if path is not None and "." in path:
            return path.rpartition(".")[0]
        waiting += source.all_input_nodes
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return path_of(f"{stack[-1][0]}.").removesuffix(".") if stack else ""


def _before_grids(node: fx.Node, constant_path: ConstantPath) -> fx.Node:
    while "quantized_decomposed" in str(node.target) and node.all_input_nodes:
        node = _source(node, constant_path)
    return node


def _source(node: fx.Node, constant_path: ConstantPath) -> fx.Node:
    """What a node is about: the first of what it reads that varies with the inputs, if any does."""
    return next((one for one in node.all_input_nodes if _varies(one, constant_path)), node.all_input_nodes[0])


def _varies(node: fx.Node, constant_path: ConstantPath) -> bool:
    return reaches(
        node, lambda one: one.all_input_nodes, lambda one: one.op == "placeholder" and constant_path(one) is None
    )
