"""Operators that make indices, fill shapes, or look values up by indices."""

from __future__ import annotations

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator
from converters._errors import ModelFileError

__all__ = ["INDICES"]


def _cumulated(arguments: Arguments) -> Tensor:
    x, axis = arguments.tensor("x"), arguments.integer("axis", 0)
    turned = x.flip(axis) if arguments.flag("reverse") else x
    total = turned.cumsum(axis, dtype=x.dtype)
    if arguments.flag("exclusive"):
        total = total - turned
    return total.flip(axis) if arguments.flag("reverse") else total


def _fill(arguments: Arguments) -> Tensor:
    return arguments.tensor("value").expand(arguments.integers("shape")).clone()


def _fill_like(arguments: Arguments) -> Tensor:
    return arguments.tensor("value").expand(arguments.tensor("ref_tensor").shape).clone()


def _gather_along_axis(arguments: Arguments) -> Tensor:
    x, indices = arguments.tensor("x"), arguments.tensor("indices").long()
    axis = arguments.integer("axis", 0) % x.dim()
    return x.gather(axis, indices % x.shape[axis])


def _gather_nd(arguments: Arguments) -> Tensor:
    """The last axis of the indices holds one place each."""
    x, indices = arguments.tensor("x"), arguments.tensor("indices").long()
    if arguments.integer("batch_dims", 0):
        raise ModelFileError("Operator gather_nd has batch axes, which the Core ML executor does not run.")
    return x[tuple(indices.unbind(-1))]


def _one_hot(arguments: Arguments) -> Tensor:
    indices, size = arguments.tensor("indices").long(), arguments.integer("one_hot_vector_size")
    axis = arguments.integer("axis", -1)
    on, off = arguments.tensor("on_value"), arguments.tensor("off_value")
    chosen = indices.unsqueeze(-1) == torch.arange(size)
    hot = torch.where(chosen, on, off)
    return hot if axis in (-1, hot.dim() - 1) else hot.movedim(-1, axis)


def _range(arguments: Arguments) -> Tensor:
    start, end, step = (arguments.tensor(name) for name in ("start", "end", "step"))
    if start.is_floating_point():
        return torch.arange(float(start), float(end), float(step), dtype=start.dtype)
    return torch.arange(int(start), int(end), int(step), dtype=start.dtype)


def _shape(arguments: Arguments) -> Tensor:
    return torch.tensor(arguments.tensor("x").shape, dtype=torch.int32)


INDICES: dict[str, Operator] = {
    "cumsum": _cumulated,
    "fill": _fill,
    "fill_like": _fill_like,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "range_1d": _range,
    "shape": _shape,
}
