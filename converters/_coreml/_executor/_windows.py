"""Padding of sliding windows, as convolutions and poolings share it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments
from converters._errors import ModelFileError

__all__ = ["pad_window", "window_padding"]


def window_padding(
    arguments: Arguments, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """Rows to add before and after each spatial axis, from ``pad_type`` and ``pad``."""
    kind = arguments.word("pad_type", "valid")
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        pad = arguments.integers("pad")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind not in ("same", "same_lower"):
        raise ModelFileError(f"Padding {kind!r} of {arguments.operator} is not one of valid, custom, same, same_lower.")
    pairs = []
    for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        covered = (-(-size // stride) - 1) * stride + (length - 1) * dilation + 1
        total = max(covered - size, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if kind == "same" else (large, small))
    return pairs


def pad_window(x: Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pads the last axes of ``x``, one pair for each."""
    if not any(before or after for before, after in pairs):
        return x
    return F.pad(x, [rows for pair in reversed(pairs) for rows in pair], value=value)
