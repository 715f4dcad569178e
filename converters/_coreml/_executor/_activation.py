"""Activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["ACTIVATION"]


def _plain(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda arguments: function(arguments.tensor("x"))


def _clamped_relu(arguments: Arguments) -> Tensor:
    return _leaky_relu(arguments).clamp(max=arguments.number("beta"))


def _elu(arguments: Arguments) -> Tensor:
    return F.elu(arguments.tensor("x"), arguments.number("alpha", 1.0))


def _gelu(arguments: Arguments) -> Tensor:
    x, mode = arguments.tensor("x"), arguments.word("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _leaky_relu(arguments: Arguments) -> Tensor:
    return F.leaky_relu(arguments.tensor("x"), arguments.number("alpha", 0.01))


def _linear(arguments: Arguments) -> Tensor:
    return arguments.tensor("x") * arguments.number("alpha", 1.0) + arguments.number("beta", 0.0)


def _prelu(arguments: Arguments) -> Tensor:
    return F.prelu(arguments.tensor("x"), arguments.tensor("alpha"))


def _scaled_tanh(arguments: Arguments) -> Tensor:
    return arguments.number("alpha", 1.0) * torch.tanh(arguments.number("beta", 1.0) * arguments.tensor("x"))


def _sigmoid_hard(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    return (arguments.number("alpha", 0.2) * x + arguments.number("beta", 0.5)).clamp(0.0, 1.0)


def _thresholded_relu(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    return torch.where(x >= arguments.number("alpha", 1.0), x, 0.0)


ACTIVATION: dict[str, Operator] = {
    "clamped_relu": _clamped_relu,
    "elu": _elu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "linear_activation": _linear,
    "prelu": _prelu,
    "relu": _plain(torch.relu),
    "relu6": _plain(F.relu6),
    "scaled_tanh": _scaled_tanh,
    "sigmoid": _plain(torch.sigmoid),
    "sigmoid_hard": _sigmoid_hard,
    "silu": _plain(F.silu),
    "softplus": _plain(F.softplus),
    "softsign": _plain(F.softsign),
    "tanh": _plain(torch.tanh),
    "thresholded_relu": _thresholded_relu,
}
