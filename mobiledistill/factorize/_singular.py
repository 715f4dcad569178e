"""Singular values of stacks of matrices: the best sums of few rank-one terms (Eckart and Young 1936)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["terms", "truncated"]


def truncated(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors whose product is the best approximation of each matrix.

    Each takes the square root of the singular values: that keeps channels between the layers of a product on one
    scale, where a training goes on well.

    Args:
        matrices: shape ``(n, rows, columns)``.
        rank: terms of each.

    Returns:
        Shapes ``(n, rows, rank)`` and ``(n, rank, columns)``.
    """
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    root = values[:, :rank].sqrt()
    return left[:, :, :rank] * root[:, None], root[:, :, None] * right[:, :rank]


def terms(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    """The inner product of each rank-one term with other matrices, summed over the stack: shape ``(full rank,)``."""
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)

    def along(others: Tensor) -> Tensor:
        products: Tensor = values * ((left.mT @ others.to(left.dtype)) * right).sum(2)
        return products.sum(0)

    return along
