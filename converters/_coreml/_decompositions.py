"""What torch's operators are made of, for ``run_decompositions``, where coremltools' own reading goes wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["group_norm", "rms_norm", "zeros_like"]


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Group normalization as the format's own layer normalization: no overflow, and three operators for nine.

    ::

        before: reshape, reduce_mean, sub, square, reduce_mean, add, sqrt, real_div, reshape
        after:  reshape, layer_norm, reshape

    coremltools writes the former, where a value of 256 overflows in float16 as soon as it is squared.
    """
    grouped = x.reshape(x.shape[0], num_groups, -1)
    normalized = functional.layer_norm(grouped, grouped.shape[-1:], eps=eps).reshape(x.shape)
    per_channel = (1, -1, *[1] * (x.dim() - 2))
    if weight is not None:
        normalized = normalized * weight.reshape(per_channel)
    return normalized if bias is None else normalized + bias.reshape(per_channel)


def rms_norm(x: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None) -> Any:
    """Division by the root of the mean square, as the format's own layer normalization of ``x`` beside ``-x``.

    ::

        before: square, reduce_mean, add, rsqrt, mul        after: mul by -1, concat, layer_norm, slice_by_index

    Together they have no mean to take off, and their variance is the mean square. So nothing overflows in float16.
    """
    if len(normalized_shape) != 1:
        return NotImplemented
    width = normalized_shape[0]
    epsilon = torch.finfo(x.dtype).eps if eps is None else eps
    both = functional.layer_norm(torch.cat([x, -x], dim=-1), [2 * width], eps=epsilon)
    normalized = both[..., :width]
    return normalized if weight is None else normalized * weight


def zeros_like(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Zeros of the type that was asked for; coremltools gives them that of ``x``."""
    return torch.full(x.shape, 0, dtype=dtype or x.dtype)
