"""Gradient reversal (Ganin and Lempitsky 2015): one optimiser for two that want the opposite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["reversed_gradient"]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reversed_gradient(value: Tensor, strength: float = 1.0) -> Tensor:
    """The value itself; what flows back through it is turned round and multiplied by ``strength``."""
    found: Tensor = _Reversal.apply(value, strength)  # type: ignore[no-untyped-call]
    return found
