"""Operators that look at one element, or at two that stand at the same place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator, named_dtype

__all__ = ["ELEMENTWISE"]


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda arguments: function(arguments.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda arguments: function(arguments.tensor("x"), arguments.tensor("y"))


def _cast(arguments: Arguments) -> Tensor:
    """Floats become integers by cutting, and true where they are not 0."""
    return arguments.tensor("x").to(named_dtype(arguments.word("dtype")))


def _clip(arguments: Arguments) -> Tensor:
    return arguments.tensor("x").clamp(arguments.number("alpha"), arguments.number("beta"))


def _floor_divide(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def _inverse(arguments: Arguments) -> Tensor:
    return 1 / (arguments.tensor("x") + arguments.number("epsilon", 1e-4))


def _log(arguments: Arguments) -> Tensor:
    return torch.log(arguments.tensor("x") + arguments.number("epsilon", 1e-45))


def _rsqrt(arguments: Arguments) -> Tensor:
    return torch.rsqrt(arguments.tensor("x") + arguments.number("epsilon", 1e-12))


def _real_divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _select(arguments: Arguments) -> Tensor:
    return torch.where(arguments.tensor("cond").bool(), arguments.tensor("a"), arguments.tensor("b"))


def _threshold(arguments: Arguments) -> Tensor:
    return arguments.tensor("x").clamp(min=arguments.number("alpha"))


ELEMENTWISE: dict[str, Operator] = {
    "abs": _unary(torch.abs),
    "add": _binary(torch.add),
    "cast": _cast,
    "ceil": _unary(torch.ceil),
    "clip": _clip,
    "cos": _unary(torch.cos),
    "equal": _binary(torch.eq),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "floor_div": _binary(_floor_divide),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "identity": _unary(lambda x: x),
    "inverse": _inverse,
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "log": _log,
    "logical_and": _binary(torch.logical_and),
    "logical_not": _unary(torch.logical_not),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "real_div": _binary(_real_divide),
    "round": _unary(torch.round),
    "rsqrt": _rsqrt,
    "select": _select,
    "sign": _unary(torch.sign),
    "sin": _unary(torch.sin),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "sub": _binary(torch.sub),
    "threshold": _threshold,
}
