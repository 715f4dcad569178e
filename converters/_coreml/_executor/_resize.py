"""Operators that make images larger or smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator
from converters._errors import ModelFileError

__all__ = ["RESIZE"]


def _upsample_nearest(arguments: Arguments) -> Tensor:
    """Every value stands where its whole factor puts it; a factor of a half or so picks by flooring."""
    x = arguments.tensor("x")
    for axis, name in ((-2, "scale_factor_height"), (-1, "scale_factor_width")):
        x = _pick(x, axis, round(x.shape[axis] * arguments.number(name, 1.0)))
    return x


def _resize_nearest(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    x = _pick(x, -2, arguments.integer("target_size_height"))
    return _pick(x, -1, arguments.integer("target_size_width"))


def _upsample_bilinear(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    corners = arguments.flag("align_corners", True)
    for axis, name in ((-2, "scale_factor_height"), (-1, "scale_factor_width")):
        size = x.shape[axis]
        target = round(size * arguments.number(name, 1.0))
        places = torch.arange(target, dtype=torch.float32)
        places = places * ((size - 1) / max(target - 1, 1)) if corners else (places + 0.5) * (size / target) - 0.5
        x = _blend(x, axis, places)
    return x


def _resize_bilinear(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    mode = arguments.word("sampling_mode", "DEFAULT")
    for axis, name in ((-2, "target_size_height"), (-1, "target_size_width")):
        size, target = x.shape[axis], arguments.integer(name)
        places = torch.arange(target, dtype=torch.float32)
        if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
            places = places * ((size - 1) / max(target - 1, 1))
        elif mode == "UNALIGN_CORNERS":
            places = (places + 0.5) * (size / target) - 0.5
        elif mode == "DEFAULT":
            places = places * (size / target)
        else:
            raise ModelFileError(f"Sampling mode {mode!r} of {arguments.operator} is not one that the executor knows.")
        x = _blend(x, axis, places)
    return x


def _pick(x: Tensor, axis: int, target: int) -> Tensor:
    places = torch.arange(target) * x.shape[axis] // target
    return x.index_select(axis % x.dim(), places)


def _blend(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """Values between two neighbours, in proportion; outside of the ends, the end."""
    places = places.clamp(0, x.shape[axis] - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    axis %= x.dim()
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(x.dim())])
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


RESIZE: dict[str, Operator] = {
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
