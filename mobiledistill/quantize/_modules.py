"""Modules that hold integers: trained with straight-through gradients, then frozen onto their grids.

While training, a quantizer rounds in the forward pass and lets gradients through, and its scale learns too (LSQ),
as a logarithm: it stays positive, and one step of the optimizer changes small and large scales by the same share.
Frozen, the same modules emit ``quantized_decomposed`` operators, which every converter turns into its format's own
integers. So the integers are the module's, and no converter ever chooses one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ActivationQuantizer",
    "KeepFloat",
    "QuantConv1d",
    "QuantConv2d",
    "QuantEmbedding",
    "QuantLinear",
    "QuantizedLayer",
    "on_grid",
]

_Q_MIN, _Q_MAX = -128, 127
_LARGEST_BIAS = 2**30  # in accumulator steps: half of what 32 bits hold, the rest is for the products
_DRAWN_IN = [1.0 - 0.02 * step for step in range(36)]  # each end of a range, down to 0.3 of it
_ops = torch.ops.quantized_decomposed


class KeepFloat(nn.Module):
    """Base class of modules that stay float: nothing inside of them is rounded, whatever surrounds them.

    For arithmetic that 256 steps would spoil: decoding boxes, the core of an attention, a normalization. What such a
    module returns is float; a layer that reads it rounds it first. Its weights, if it has any, are stored as floats.

    Example:
        >>> class Decode(KeepFloat):
        ...     def forward(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        ...         return anchors + 0.1 * offsets
    """


class ActivationQuantizer(nn.Module):
    """Puts an activation on an affine int8 grid: ``real = scale * (integer - zero_point)``.

    ``observe`` gathers ranges, ``settle`` turns them into a grid; from then on the forward pass rounds.
    """

    zero_point: Tensor
    scale_value: float
    zero_point_value: int

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int64))
        self.frozen = False
        self.observed: list[Tensor] | None = None
        self.reads_whole_numbers = False

    def observe(self) -> None:
        """From now on gathers ranges instead of rounding."""
        self.observed = []

    def forward(self, x: Tensor) -> Tensor:
        if self.frozen:
            grid = (self.scale_value, self.zero_point_value, _Q_MIN, _Q_MAX, torch.int8)
            integers = _ops.quantize_per_tensor.default(x, *grid)
            return cast(Tensor, _ops.dequantize_per_tensor.default(integers, *grid))
        if self.observed is not None:
            if x.is_floating_point():
                self.observed.append(_subsample(x.detach()))
            else:
                self.reads_whole_numbers = True
            return x
        zero_point = self.zero_point.float()
        return torch._fake_quantize_learnable_per_tensor_affine(
            x, self.log_scale.exp(), zero_point, _Q_MIN, _Q_MAX, 1.0
        )

    def settle(self, percentile: float | None) -> None:
        """Chooses the grid from the observed values; it always holds 0.

        Args:
            percentile: of the values, how much it covers; None: the range that rounds them with the least squared
                error.
        """
        values = torch.cat(self.observed or [torch.zeros(1)])
        self.observed = None
        low = min(0.0, _quantile(values, 100.0 - (percentile or 100.0)))
        high = max(0.0, _quantile(values, percentile or 100.0))
        if percentile is None:
            low, high = _least_squares_range(values, low, high)
        scale = max((high - low) / (_Q_MAX - _Q_MIN), 1e-6)
        with torch.no_grad():
            self.log_scale.fill_(math.log(scale))
            self.zero_point.fill_(max(_Q_MIN, min(_Q_MAX, round(_Q_MIN - low / scale))))

    def freeze(self) -> None:
        """Fixes the grid for good."""
        self.scale_value = float(self.log_scale.detach().exp())
        self.zero_point_value = int(self.zero_point)
        del self.log_scale, self.zero_point
        self.frozen = True


class QuantizedLayer(nn.Module, ABC):
    """A weighted layer whose weight lies on one symmetric integer grid per output channel.

    Args:
        weight: float weight, output channels first.
        bias: float bias ``(out,)``; zeros where the float layer had none, since kernels add one anyway.
        bits: of a weight, 8 or 4.
    """

    channel_axis = 1
    """Of what it returns."""

    weight: Tensor
    weight_scale: Tensor
    weight_zero_point: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: int = 8) -> None:
        super().__init__()
        self._most = 2 ** (bits - 1) - 1
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias.detach().clone())
        self.log_weight_scale = nn.Parameter(_least_squares_scale(weight.detach(), self._most).log())
        self.register_buffer("weight_zero_point", torch.zeros(len(weight), dtype=torch.int64))
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, self.quantized_weight())

    @abstractmethod
    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        """What the layer returns with one weight or another."""

    def quantized_weight(self) -> Tensor:
        """The weight as the integers spell it."""
        if self.frozen:
            grid = (self.weight_scale, self.weight_zero_point, 0, -self._most, self._most, torch.int8)
            return cast(
                Tensor,
                _ops.dequantize_per_channel.default(_ops.quantize_per_channel.default(self.weight, *grid), *grid),
            )
        scale, zero_point = self.log_weight_scale.exp(), self.weight_zero_point.float()
        return torch._fake_quantize_learnable_per_channel_affine(
            self.weight, scale, zero_point, 0, -self._most, self._most, 1.0
        )

    def freeze(self, input_scale: float) -> None:
        """Moves weight and bias onto their grids and fixes them there."""
        with torch.no_grad():
            # Beside a bias, a channel of next to no weights needs a coarser step: the bias has 32 bits.
            scale = self.log_weight_scale.exp().maximum(self.bias.abs() / (_LARGEST_BIAS * input_scale))
            broadcast = _per_channel(scale, self.weight)
            integers = torch.clamp(torch.round(self.weight / broadcast), -self._most, self._most)
            weight = integers * broadcast
            accumulator_step = scale.double() * input_scale
            bias = (torch.round(self.bias.double() / accumulator_step) * accumulator_step).float()
        del self.weight, self.log_weight_scale, self.bias
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)
        self.register_buffer("bias", bias)
        self.frozen = True


class QuantConv2d(QuantizedLayer):
    """``nn.Conv2d`` with an integer weight."""

    def __init__(self, conv: nn.Conv2d, bits: int = 8) -> None:
        super().__init__(conv.weight, conv.bias, bits)
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class QuantConv1d(QuantConv2d):
    """``nn.Conv1d`` with an integer weight, written as a convolution over images of one row: kernels have both."""

    def __init__(self, conv: nn.Conv1d, bits: int = 8) -> None:
        QuantizedLayer.__init__(self, conv.weight.detach().unsqueeze(2), conv.bias, bits)
        self.stride, self.dilation = (1, *conv.stride), (1, *conv.dilation)
        self.padding = conv.padding if isinstance(conv.padding, str) else (0, *conv.padding)
        self.groups = conv.groups

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        return super().compute(x.unsqueeze(2), weight).squeeze(2)


class QuantLinear(QuantizedLayer):
    """``nn.Linear`` with an integer weight."""

    channel_axis = -1

    def __init__(self, linear: nn.Linear, bits: int = 8) -> None:
        super().__init__(linear.weight, linear.bias, bits)

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight, self.bias)


class QuantEmbedding(nn.Module):
    """``nn.Embedding`` whose table lies on one symmetric int8 grid.

    One scale serves the whole table: rows are gathered as integers and dequantized afterwards, and a scale a row would
    have to be gathered as well.
    """

    weight: Tensor
    weight_zero_point: Tensor
    scale_value: float

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight = table.weight.detach()
        self.padding_idx = table.padding_idx
        self.weight = nn.Parameter(weight.clone())
        self.log_weight_scale = nn.Parameter(_least_squares_scale(weight.reshape(1, -1)).log())
        self.register_buffer("weight_zero_point", torch.zeros(1, dtype=torch.int64))
        self.frozen = False

    def forward(self, ids: Tensor) -> Tensor:
        if self.frozen:
            return self._rounded(F.embedding(ids, self._rounded(self.weight)))  # rounded again: rows, not the table
        rows = F.embedding(ids, self.weight, self.padding_idx)
        scale, zero_point = self.log_weight_scale.exp(), self.weight_zero_point.float()
        return torch._fake_quantize_learnable_per_tensor_affine(rows, scale, zero_point, -_Q_MAX, _Q_MAX, 1.0)

    def freeze(self) -> None:
        """Moves the table onto its grid and fixes it there."""
        self.scale_value = float(self.log_weight_scale.detach().exp())
        weight = self._rounded(self.weight.detach())
        del self.weight, self.log_weight_scale, self.weight_zero_point
        self.register_buffer("weight", weight)
        self.frozen = True

    def _rounded(self, values: Tensor) -> Tensor:
        grid = (self.scale_value, 0, -_Q_MAX, _Q_MAX, torch.int8)
        return cast(Tensor, _ops.dequantize_per_tensor.default(_ops.quantize_per_tensor.default(values, *grid), *grid))


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """A weight rounded to integers of so many bits, symmetric, one scale for each output channel (axis 0)."""
    most = 2 ** (bits - 1) - 1
    scale = _per_channel(_least_squares_scale(weight, most), weight)
    return torch.clamp(torch.round(weight / scale), -most, most) * scale


def _per_channel(values: Tensor, weight: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (weight.dim() - 1))


def _least_squares_scale(weight: Tensor, most: int = _Q_MAX) -> Tensor:
    """Per channel, the scale among a few clippings of its range that rounds with the least squared error."""
    flat = weight.flatten(1)
    full = flat.abs().amax(1).clamp_min(1e-6) / most
    best, best_error = full, torch.full_like(full, torch.inf)
    for clip in torch.linspace(0.7, 1.0, 13):
        scale = (full * clip)[:, None]
        error = (torch.clamp(torch.round(flat / scale), -most, most) * scale - flat).square().sum(1)
        best = torch.where(error < best_error, full * clip, best)
        best_error = torch.minimum(error, best_error)
    return best


def _least_squares_range(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """The range, among those with each end drawn in, that rounds the values with the least squared error."""

    def error(low: float, high: float) -> float:
        scale = max((high - low) / (_Q_MAX - _Q_MIN), 1e-6)
        zero_point = round(_Q_MIN - low / scale)
        steps = (torch.round(values / scale) + zero_point).clamp(_Q_MIN, _Q_MAX) - zero_point
        return float((steps * scale - values).square().sum())

    best_low = min((low * share for share in _DRAWN_IN), key=lambda end: error(end, high)) if low < 0 else low
    best_high = min((high * share for share in _DRAWN_IN), key=lambda end: error(best_low, end)) if high > 0 else high
    return best_low, best_high


def _subsample(x: Tensor, most: int = 50_000) -> Tensor:
    flat = x.flatten()
    return flat[:: max(1, flat.numel() // most)]


def _quantile(values: Tensor, percentile: float) -> float:
    ordered = values.sort().values
    return float(ordered[round(percentile / 100 * (len(ordered) - 1))])
