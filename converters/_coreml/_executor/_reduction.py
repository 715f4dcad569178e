"""Reductions over some axes, or over all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["REDUCTION"]


def _over_axes(function: Callable[[Tensor, list[int]], Tensor]) -> Operator:
    """From a function that keeps the reduced axes with size 1."""

    def operator(arguments: Arguments) -> Tensor:
        x = arguments.tensor("x")
        axes = sorted(axis % x.dim() for axis in arguments.integers("axes", range(x.dim())))
        reduced = function(x, axes)
        return reduced if arguments.flag("keep_dims") else reduced.squeeze(axes)

    return operator


def _over_axis(function: Callable[[Tensor, int, bool], Tensor]) -> Operator:
    def operator(arguments: Arguments) -> Tensor:
        return function(arguments.tensor("x"), arguments.integer("axis", -1), arguments.flag("keep_dims")).int()

    return operator


def _product(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


REDUCTION: dict[str, Operator] = {
    "reduce_argmax": _over_axis(torch.argmax),
    "reduce_argmin": _over_axis(torch.argmin),
    "reduce_l1_norm": _over_axes(lambda x, axes: x.abs().sum(axes, keepdim=True)),
    "reduce_l2_norm": _over_axes(lambda x, axes: x.square().sum(axes, keepdim=True).sqrt()),
    "reduce_log_sum": _over_axes(lambda x, axes: x.sum(axes, keepdim=True).log()),
    "reduce_log_sum_exp": _over_axes(lambda x, axes: torch.logsumexp(x, axes, keepdim=True)),
    "reduce_max": _over_axes(lambda x, axes: x.amax(axes, keepdim=True)),
    "reduce_mean": _over_axes(lambda x, axes: x.mean(axes, keepdim=True)),
    "reduce_min": _over_axes(lambda x, axes: x.amin(axes, keepdim=True)),
    "reduce_prod": _over_axes(_product),
    "reduce_sum": _over_axes(lambda x, axes: x.sum(axes, keepdim=True, dtype=x.dtype)),
    "reduce_sum_square": _over_axes(lambda x, axes: x.square().sum(axes, keepdim=True, dtype=x.dtype)),
}
