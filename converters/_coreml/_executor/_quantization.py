"""Onto an integer grid and back."""

from __future__ import annotations

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator, named_dtype

__all__ = ["QUANTIZATION"]


def _quantize(arguments: Arguments) -> Tensor:
    """``clamp(round(input / scale) + zero_point)``, halves to even."""
    x = arguments.tensor("input")
    dtype = named_dtype(arguments.word("output_dtype"))
    steps = torch.round(x / _along_axis(arguments, "scale", x)) + _zero_point(arguments, x)
    limits = torch.iinfo(dtype)
    return steps.clamp(limits.min, limits.max).to(dtype)


def _dequantize(arguments: Arguments) -> Tensor:
    integers = arguments.tensor("input")
    scale = _along_axis(arguments, "scale", integers)
    return (integers.to(scale.dtype) - _zero_point(arguments, integers)) * scale


def _zero_point(arguments: Arguments, x: Tensor) -> Tensor:
    if "zero_point" not in arguments:
        return torch.zeros(())
    return _along_axis(arguments, "zero_point", x).to(torch.float32)


def _along_axis(arguments: Arguments, name: str, x: Tensor) -> Tensor:
    values = arguments.tensor(name)
    if values.dim() == 0:
        return values
    shape = [1] * x.dim()
    shape[arguments.integer("axis", 0)] = -1
    return values.reshape(shape)


QUANTIZATION: dict[str, Operator] = {
    "dequantize": _dequantize,
    "quantize": _quantize,
}
