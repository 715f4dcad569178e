"""Layers whose weights alone are stored in few bits: their arithmetic, and all activations, stay float.

While training, a weight is rounded in the forward pass and gradients pass through (integers), or flow into the table
that it is drawn from (palettes: Deep Compression, Han et al. 2016). Frozen, the forward pass spells the weight out as
integers times scales, or as entries of a table; converters store exactly these.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobiledistill.quantize._schemes import Palette, WeightOnly

__all__ = ["CodedLayer", "coded"]

_LEAST_WEIGHTS = 256  # below that a table or a scale costs more bytes than it saves
_CLIPPINGS = torch.linspace(0.6, 1.0, 17)
_ROUNDS = 50
_REACH = 3.0  # steps: with a grid of -1, 0 and 1 a good part of all weights lies beyond its end, and has to learn on
_SAMPLED = 200_000

Weighted = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear | nn.Embedding


class CodedLayer(nn.Module):
    """A layer whose weight comes from a few bits each.

    Args:
        layer: the float layer; its weight moves into the codes, its bias stays.
        code: what makes the weight.
    """

    def __init__(self, layer: Weighted, code: IntegerWeight | TableWeight) -> None:
        super().__init__()
        self.layer = layer
        self.code = code
        del layer.weight

    @property
    def weight(self) -> Tensor:
        """What the codes spell; another layer may be tied to it."""
        return cast(Tensor, self.code())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        match self.layer:
            case nn.Embedding():
                return F.embedding(x, weight, self.layer.padding_idx)
            case nn.Linear():
                return F.linear(x, weight, self.layer.bias)
            case nn.ConvTranspose1d() | nn.ConvTranspose2d():
                return self._transposed(self.layer, x, weight)
            case nn.Conv1d() | nn.Conv2d():
                return cast(Tensor, self.layer._conv_forward(x, weight, self.layer.bias))
        raise TypeError(f"{type(self.layer).__name__} has no weight that can be coded")

    def _transposed(self, layer: nn.ConvTranspose1d | nn.ConvTranspose2d, x: Tensor, weight: Tensor) -> Tensor:
        convolve: Any = F.conv_transpose1d if isinstance(layer, nn.ConvTranspose1d) else F.conv_transpose2d
        places = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return cast(Tensor, convolve(x, weight, layer.bias, *places))

    def freeze(self) -> None:
        """Fixes the codes for good."""
        self.code.freeze()


def coded(layer: nn.Module, scheme: WeightOnly | Palette) -> CodedLayer | None:
    """The layer with its weight in codes; None where it has none that is worth it."""
    if not isinstance(layer, Weighted) or layer.weight.numel() < _LEAST_WEIGHTS:
        return None
    weight = layer.weight.detach()
    if isinstance(scheme, Palette):
        return CodedLayer(layer, TableWeight(weight, scheme.bits, scheme.values))
    in_rows = isinstance(layer, nn.Linear | nn.Embedding)
    block = scheme.block if in_rows and scheme.block and weight.shape[1] % scheme.block == 0 else None
    axis = 1 if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) and layer.groups == 1 else 0
    return CodedLayer(layer, IntegerWeight(weight, scheme.bits, block, axis))


class IntegerWeight(nn.Module):
    """A weight on symmetric grids, one for each output channel, or for each block of a row.

    Args:
        weight: float.
        bits: 8, 4, 2 (then they are -1, 0 and 1) or 1 (-1 and 1).
        block: weights of a row that share a scale; None: all of a channel.
        axis: of the output channels.

    Attributes:
        has_zero: whether 0 is on the grid.
    """

    integers: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bits: int, block: int | None, axis: int) -> None:
        super().__init__()
        self._most = max(1, 2 ** (bits - 1) - 1)
        self.has_zero = bits > 1
        self._reach = self._most if bits > 2 else _REACH
        self._shape = tuple(weight.shape)
        rows = weight.shape[0] if block else weight.shape[axis]
        self._apart = (rows, -1, block) if block else (*weight.shape,)
        self.axis = axis
        self._block = block
        self.weight = nn.Parameter(weight.clone())
        groups = self._grouped(weight)
        scale = _least_squares_scale(groups, self._most) if self.has_zero else groups.abs().mean(1).clamp_min(1e-6)
        self.log_scale = nn.Parameter(scale.log())
        self.frozen = False

    def forward(self) -> Tensor:
        if self.frozen:
            return (self.integers.to(torch.float32).reshape(self._apart) * self.scale).reshape(self._shape)
        scale = self.log_scale.exp()[:, None]
        groups = self._grouped(self.weight)
        steps = groups / scale
        rounded = steps + (self._rounded(steps) - steps).detach()
        inside = steps.abs() <= self._reach  # beyond, only the scale learns
        value = torch.where(inside, rounded, torch.sign(steps).detach() * self._most) * scale
        return self._ungrouped(value)

    def freeze(self) -> None:
        """Rounds for good."""
        with torch.no_grad():
            scale = self.log_scale.exp()[:, None]
            integers = self._ungrouped(self._rounded(self._grouped(self.weight) / scale)).to(torch.int8)
        spread = [-1 if axis == self.axis else 1 for axis in range(len(self._shape))]
        scale = scale.reshape(self._shape[0], -1, 1) if self._block else scale.reshape(spread)
        del self.weight, self.log_scale
        self.register_buffer("integers", integers)
        self.register_buffer("scale", scale.clone())
        self.frozen = True

    def _rounded(self, steps: Tensor) -> Tensor:
        if not self.has_zero:
            return torch.where(steps >= 0, 1.0, -1.0)
        return torch.round(steps).clamp(-self._most, self._most)

    def _grouped(self, weight: Tensor) -> Tensor:
        """One row for all that share a scale."""
        if self._block:
            return weight.reshape(-1, self._block)
        return weight.movedim(self.axis, 0).flatten(1)

    def _ungrouped(self, groups: Tensor) -> Tensor:
        if self._block:
            return groups.reshape(self._shape)
        moved = [self._shape[self.axis], *(n for axis, n in enumerate(self._shape) if axis != self.axis)]
        return groups.reshape(moved).movedim(0, self.axis).contiguous()


class TableWeight(nn.Module):
    """A weight drawn from a table of ``2 ** bits`` values, found by k-means; the table goes on learning.

    Where a fair share of the weights is zero, which pruning alone brings about, the entry in the table's middle is 0
    for good, and they stay at it. Negative values lie before it, positive ones behind it, as archives like it.

    Args:
        weight: float.
        bits: of an index.
        values: entries that are used, the zero among them; None: all.
    """

    indices: Tensor
    is_zero: Tensor

    def __init__(self, weight: Tensor, bits: int, values: int | None = None) -> None:
        super().__init__()
        values = values or 2**bits
        self.has_zero = float((weight == 0).double().mean()) >= 1 / values
        table, indices = (_around_zero if self.has_zero else _along)(weight, 2**bits, values)
        self.table = nn.Parameter(table)
        self.register_buffer("indices", indices.to(torch.uint8))
        if self.has_zero:
            self.register_buffer("is_zero", torch.arange(2**bits) == 2 ** (bits - 1))

    def forward(self) -> Tensor:
        table = torch.where(self.is_zero, 0.0, self.table) if self.has_zero else self.table
        return table.index_select(0, self.indices.flatten().to(torch.int32)).reshape(self.indices.shape)

    def freeze(self) -> None:
        """Nothing is left to round."""
        self.table.requires_grad_(False)
        if self.has_zero:
            self.table[self.is_zero] = 0.0
            del self.is_zero
            self.has_zero = False


def _along(weight: Tensor, entries: int, values: int) -> tuple[Tensor, Tensor]:
    """A table of ascending values, and the index of each weight."""
    centers = _centers(weight.flatten(), values)
    return torch.cat([centers, centers[-1:].expand(entries - values)]), _nearest(weight, centers)


def _around_zero(weight: Tensor, entries: int, values: int) -> tuple[Tensor, Tensor]:
    """A table with 0 in its middle, half of the other values on each side, and the index of each weight."""
    middle, below = entries // 2, values // 2
    table = torch.zeros(entries)
    indices = torch.full(weight.shape, middle)
    for sign, first, count in ((-1, middle - below, below), (1, middle + 1, values - 1 - below)):
        side = weight.sign() == sign
        if count and bool(side.any()):
            table[first : first + count] = _centers(weight[side], count)
            indices[side] = first + _nearest(weight[side], table[first : first + count])
    return table, indices


def _least_squares_scale(groups: Tensor, most: int) -> Tensor:
    """Per row, the scale among a few clippings of its range that rounds with the least squared error."""
    full = groups.abs().amax(1).clamp_min(1e-6) / most
    best, best_error = full, torch.full_like(full, torch.inf)
    for clip in _CLIPPINGS:
        scale = (full * clip)[:, None]
        error = (torch.round(groups / scale).clamp(-most, most) * scale - groups).square().sum(1)
        best = torch.where(error < best_error, full * clip, best)
        best_error = torch.minimum(error, best_error)
    return best


def _centers(values: Tensor, count: int) -> Tensor:
    """Lloyd's k-means of numbers, from evenly spaced centers, which keep the rare large weights (Han et al. 2016)."""
    values = values[:: max(1, len(values) // _SAMPLED)].sort().values
    distinct = torch.unique_consecutive(values)
    if len(distinct) <= count:
        return torch.cat([distinct, distinct[-1:].expand(count - len(distinct))])
    centers = torch.linspace(float(values[0]), float(values[-1]), count)
    for _ in range(_ROUNDS):
        nearest = _nearest(values, centers)
        sums = torch.zeros(count).index_add_(0, nearest, values)
        sizes = torch.zeros(count).index_add_(0, nearest, torch.ones_like(values))
        moved = torch.where(sizes > 0, sums / sizes.clamp_min(1), centers).sort().values
        if torch.equal(moved, centers):
            break
        centers = moved
    return centers


def _nearest(values: Tensor, centers: Tensor) -> Tensor:
    """Index of the nearest of ascending centers."""
    return torch.bucketize(values, (centers[1:] + centers[:-1]) / 2)
