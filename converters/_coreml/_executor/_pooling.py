"""Poolings over one, two or three axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator
from converters._coreml._executor._windows import pad_window, window_padding
from converters._errors import ModelFileError

__all__ = ["POOLING"]

_AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _avg_pool(arguments: Arguments) -> Tensor:
    """Padding counts as zeros unless it is excluded; what only ``ceil_mode`` adds never counts."""
    x = arguments.tensor("x")
    kernel, strides, pairs, extra = _geometry(arguments, x)
    pool = _AVERAGES[len(kernel)]
    padded = pad_window(pad_window(x, pairs), extra)
    whole = torch.ones_like(x[:1, :1])
    if arguments.flag("exclude_padding_from_average"):
        counted = pad_window(pad_window(whole, pairs), extra)
    else:
        counted = pad_window(pad_window(whole, pairs, 1.0), extra)
    if bool((counted == 1).all()):
        return pool(padded, kernel, strides)
    area = math.prod(kernel)
    return (pool(padded, kernel, strides) * area) / (pool(counted, kernel, strides) * area)


def _max_pool(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    kernel, strides, pairs, extra = _geometry(arguments, x)
    padded = pad_window(pad_window(x, pairs, -torch.inf), extra, -torch.inf)
    return _MAXIMA[len(kernel)](padded, kernel, strides)


def _geometry(
    arguments: Arguments, x: Tensor
) -> tuple[list[int], list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """Kernel, strides, padding, and what must follow the end for the last window that ``ceil_mode`` adds."""
    kernel = arguments.integers("kernel_sizes")
    if not 1 <= len(kernel) <= 3 or x.dim() != len(kernel) + 2:
        raise ModelFileError(f"{arguments.operator} pools {len(kernel)} axes of {x.dim()}; 1 to 3 are possible.")
    strides = arguments.integers("strides", [1] * len(kernel))
    pairs = window_padding(arguments, x.shape[2:], kernel, strides, [1] * len(kernel))
    extra = [(0, 0)] * len(kernel)
    if arguments.flag("ceil_mode"):
        sizes = zip(x.shape[2:], kernel, strides, pairs, strict=True)
        extra = [(0, _overhang(size, length, stride, *pair)) for size, length, stride, pair in sizes]
    return kernel, strides, pairs, extra


def _overhang(size: int, length: int, stride: int, before: int, after: int) -> int:
    """Rows beyond the padded end that the last window covers; it must start inside of input or leading padding."""
    padded = size + before + after
    windows = -(-(padded - length) // stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return max(0, (windows - 1) * stride + length - padded)


POOLING: dict[str, Operator] = {"avg_pool": _avg_pool, "max_pool": _max_pool}
