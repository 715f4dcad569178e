"""Normalisations, written out because their axes are free."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["NORMALIZATION"]


def _batch_norm(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    mean, variance = (_per_channel(arguments.tensor(name), x) for name in ("mean", "variance"))
    normalized = (x - mean) * torch.rsqrt(variance + arguments.number("epsilon", 1e-5))
    return _scaled(arguments, normalized, lambda values: _per_channel(values, x))


def _instance_norm(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    normalized = _normalized(x, list(range(2, x.dim())), arguments.number("epsilon", 1e-5))
    return _scaled(arguments, normalized, lambda values: _per_channel(values, x))


def _layer_norm(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    axes = sorted(axis % x.dim() for axis in arguments.integers("axes", range(x.dim())))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    normalized = _normalized(x, axes, arguments.number("epsilon", 1e-5))
    return _scaled(arguments, normalized, lambda values: values.reshape(shape))


def _l2_norm(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    squares = x.square().sum(dim=(-3, -2, -1), keepdim=True)
    return x * torch.rsqrt(squares.clamp(min=arguments.number("epsilon", 1e-6)))


def _normalized(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


def _scaled(arguments: Arguments, x: Tensor, shaped: Callable[[Tensor], Tensor]) -> Tensor:
    gamma, beta = arguments.optional("gamma"), arguments.optional("beta")
    if gamma is not None:
        x = x * shaped(gamma)
    return x if beta is None else x + shaped(beta)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape([1, -1] + [1] * (x.dim() - 2))


NORMALIZATION: dict[str, Operator] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
}
