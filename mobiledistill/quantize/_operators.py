"""What each operator of a traced graph does to the grid of the values that it reads."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from mobiledistill.quantize._modules import QuantizedLayer

__all__ = ["Role", "feeds_one_activation", "is_star", "main_operand", "module_of", "role_of", "tensor_operands"]

Role = str
"""``source`` (has values of its own), ``layer``, ``activation``, ``arithmetic``, ``average``, ``keep`` (moves values),
``join`` (moves values of several operands), ``float`` (anything else), ``output``."""

_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
_ACTIVATION_CALLS = ("relu", "relu_", "relu6", torch.relu, F.relu, F.relu6)
_ADDITIONS = ("add", "add_", operator.add, operator.iadd, torch.add)
_ARITHMETIC = (*_ADDITIONS, "mul", operator.mul, operator.imul, torch.mul)
_SMALL = 0.01
_NOT_OF_ZERO = (
    *("log", "log2", "log10", "rsqrt", "sqrt", "reciprocal", "div", "truediv", "pow"),
    *(torch.log, torch.log2, torch.log10, torch.rsqrt, torch.sqrt, torch.reciprocal, torch.div, operator.truediv),
)
_AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_AVERAGE_CALLS = (
    *("mean", "avg_pool2d", "adaptive_avg_pool2d", "upsample_bilinear2d"),
    *(torch.mean, F.avg_pool2d, F.adaptive_avg_pool2d),
)
_JOINS = ("cat", "stack", torch.cat, torch.concat, torch.stack)
_KEEPERS = (nn.Flatten, nn.Unflatten, nn.MaxPool2d, nn.Identity, nn.Dropout, nn.Dropout2d, nn.PixelShuffle)
_KEEPING_CALLS = (
    *("chunk", "clone", "contiguous", "expand", "flatten", "flip", "movedim", "narrow", "permute", "repeat", "reshape"),
    *("split", "squeeze", "swapaxes", "t", "tile", "transpose", "unbind", "unflatten", "unsqueeze", "view"),
    *("alias", "detach", "dropout", "max_pool2d", "pixel_shuffle", "select", "slice", "split_with_sizes"),
    *("_unsafe_view", "upsample_nearest2d", "_upsample_nearest_exact2d"),  # as torch.export spells it
    *(torch.chunk, torch.clone, torch.flatten, torch.flip, torch.movedim, torch.narrow, torch.permute),
    *(torch.reshape, torch.split, torch.squeeze, torch.swapaxes, torch.tile, torch.transpose, torch.unbind),
    *(torch.unflatten, torch.unsqueeze, F.dropout, F.max_pool2d, F.pixel_shuffle),
)
_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d)
_NEAREST = ("nearest", "nearest-exact")


def role_of(traced: fx.GraphModule, node: fx.Node) -> Role:
    """What a node does to grids."""
    if node.op == "output":
        return "output"
    if node.op == "get_attr" or (node.op == "placeholder" and not is_star(node)):
        return "source"
    if node.op == "call_module":
        return _role_of_module(module_of(traced, node))
    return _role_of_call(node)


def module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, None for any other node."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_star(node: fx.Node) -> bool:
    """Whether a placeholder stands for all of ``*args``."""
    return node.op == "placeholder" and str(node.target).startswith("*")


def main_operand(node: fx.Node) -> fx.Node | None:
    """The tensor that an operator of one tensor reads."""
    first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("x"))
    return first if isinstance(first, fx.Node) else None


def tensor_operands(node: fx.Node) -> list[fx.Node]:
    """All nodes that a node reads, each once for every time that it stands among the operands."""
    return list(_nodes((node.args[:2], node.kwargs.get("tensors"), node.kwargs.get("other"))))


def feeds_one_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing but an activation reads a value, so that it never exists outside of a fused kernel."""
    users = list(node.users)
    return len(users) == 1 and role_of(traced, users[0]) == "activation"


def _role_of_module(module: nn.Module | None) -> Role:
    match module:
        case QuantizedLayer():
            return "layer"
        case _ if isinstance(module, _ACTIVATIONS):
            return "activation"
        case _ if isinstance(module, _AVERAGES):
            return "float" if getattr(module, "ceil_mode", False) else "average"
        case _ if isinstance(module, _KEEPERS + _PADS):
            return "keep"
        case nn.Upsample():
            return _role_of_resizing(module.mode)
    return "float"


def _role_of_call(node: fx.Node) -> Role:
    target = _operator_of_aten(node) or node.target
    if target is operator.getitem:
        return _role_of_getitem(node)
    if _keeps_from_zero(node, target) or _averages_over_the_edge(node, target):
        return "float"
    for targets, role in (
        (_ACTIVATION_CALLS, "activation"),
        (_ARITHMETIC, "arithmetic"),
        (_AVERAGE_CALLS, "average"),
        (_JOINS, "join"),
        (_KEEPING_CALLS, "keep"),
    ):
        if target in targets:
            return role
    if target == "hardtanh" and tuple(node.args[1:]) == (0.0, 6.0):  # torch.export's ReLU6
        return "activation"
    if target is F.interpolate:
        return _role_of_resizing(node.args[3] if len(node.args) > 3 else node.kwargs.get("mode", "nearest"))
    return "keep" if target in (F.pad, "pad") and _pads_zeros(node) else "float"


def _keeps_from_zero(node: fx.Node, target: object) -> bool:
    """Whether a small number is added for an operator to which 0 is special; a grid would round it away."""
    numbers = [argument for argument in node.args if isinstance(argument, float) and abs(argument) <= _SMALL]
    if target not in _ADDITIONS or not numbers:
        return False
    return any((_operator_of_aten(user) or user.target) in _NOT_OF_ZERO for user in node.users)


def _averages_over_the_edge(node: fx.Node, target: object) -> bool:
    """Whether a pooling rounds its size up: its last windows hold fewer values, which integer kernels count anew."""
    if target not in ("avg_pool2d", F.avg_pool2d):
        return False
    return bool(node.args[4] if len(node.args) > 4 else node.kwargs.get("ceil_mode", False))


def _role_of_resizing(mode: object) -> Role:
    """A picture made larger or smaller holds the pixels that it was made of, or averages of them."""
    if mode in _NEAREST:
        return "keep"
    return "average" if mode == "bilinear" else "float"


def _operator_of_aten(node: fx.Node) -> str | None:
    """``add`` for ``aten.add.Tensor``, as graphs of torch.export have it; None for any other call."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return target._schema.name.partition("::")[2]
    return None


def _role_of_getitem(node: fx.Node) -> Role:
    """Slices move values; a tensor as index gathers, and what it gathers may be anything."""
    source, index = node.args
    if isinstance(source, fx.Node) and is_star(source):
        return "source"
    parts = index if isinstance(index, tuple) else (index,)
    return "float" if any(isinstance(part, fx.Node) for part in parts) else "keep"


def _pads_zeros(node: fx.Node) -> bool:
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
    return mode != "constant" or value in (None, 0, 0.0)


def _nodes(value: Any) -> Iterator[fx.Node]:
    if isinstance(value, fx.Node):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _nodes(part)
