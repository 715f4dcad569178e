"""A quantized module computed in 64-bit floats.

Its own 32-bit sums put some values that lie close to the middle of two integers on the wrong side, and a deep network
carries that on. Runtimes with integer kernels do not err so: against this reference they show how exact they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from converters._program import Program

__all__ = ["InDoubles"]


class InDoubles(nn.Module):
    """A program's module, its weights and grids its own, computed in 64-bit floats; inputs may be of 32 bits."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._traced: fx.GraphModule = torch.export.export(program.module, tuple(program.inputs.values())).module(
            check_guards=False
        )

    def forward(self, *inputs: Tensor) -> Any:
        """What the module returns."""
        return _Interpreter(self._traced).run(*inputs)


class _Interpreter(fx.Interpreter):
    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _double(super().placeholder(target, args, kwargs))

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _double(super().get_attr(target, args, kwargs))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        quantized = torch.ops.quantized_decomposed
        if target is quantized.quantize_per_tensor.default:
            value, scale, zero_point, low, high, _ = args
            return (torch.round(value / scale) + zero_point).clamp(low, high)
        if target is quantized.dequantize_per_tensor.default:
            value, scale, zero_point = args[:3]
            return (value.double() - zero_point) * scale
        if target is quantized.quantize_per_channel.default:
            value, scales, zero_points, axis, low, high, _ = args
            return (torch.round(value / _along(scales, value, axis)) + _along(zero_points, value, axis)).clamp(
                low, high
            )
        if target is quantized.dequantize_per_channel.default:
            value, scales, zero_points, axis = args[:4]
            return (value.double() - _along(zero_points, value, axis)) * _along(scales, value, axis)
        if target is torch.ops.aten._assert_tensor_metadata.default:
            return None  # it insists on 32 bits
        wide = [torch.float64 if argument is torch.float32 else argument for argument in args]
        named = {name: torch.float64 if value is torch.float32 else value for name, value in kwargs.items()}
        return super().call_function(target, tuple(wide), named)


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _along(numbers: Tensor, value: Tensor, axis: int) -> Tensor:
    return numbers.reshape([-1 if place == axis else 1 for place in range(value.dim())])
