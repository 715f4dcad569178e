"""Batch normalization that no convolution takes in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.export import ExportedProgram

__all__ = ["scale_and_shift"]


def scale_and_shift(exported: ExportedProgram) -> ExportedProgram:
    """Normalization by known statistics as a product and a sum.

    ::

        before: sub, mul, mul, add        after: mul, add

    litert-torch writes the former, twice the work where no convolution before it takes them in.
    """
    aten = torch.ops.aten
    if not exported.graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        return exported
    known = aten._native_batch_norm_legit_no_training.default
    decomposed: ExportedProgram = exported.run_decompositions({known: _scaled})
    return decomposed


def _scaled(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    per_channel = (1, -1, *[1] * (x.dim() - 2))
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    unused = x.new_empty(0)  # statistics of the batch, which only training reads
    return x * scale.reshape(per_channel) + shift.reshape(per_channel), unused, unused
