"""Kronecker products: a large matrix as a few products of two small ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobiledistill.factorize._base import Factorization, Part, Units, Weights
from mobiledistill.factorize._layers import bias_of, linear, numbers_of, weight_of
from mobiledistill.factorize._singular import terms, truncated

__all__ = ["Kronecker"]


@dataclass(frozen=True)
class Kronecker(Factorization):
    """The nearest sum of r Kronecker products to the weight of a linear layer (Van Loan and Pitsianis 1993).

    You gain the smallest replacement there is, since r = 1 has about the square root of the weights, and unlike low
    rank it has full rank as a matrix. You lose more of a trained weight for each number kept than with LowRank unless
    its blocks resemble each other, and a product costs more multiply-accumulates than its weights suggest; train
    afterwards. The weight's sides are parted near their square roots, ``out = a b`` and ``in = c d``::

        W ~ A_1 x B_1 + ... + A_r x B_r     A (a, c), B (b, d)                             r (a c + b d) weights

    The best of these sums is the singular value decomposition of the weight rearranged, one block a row. A layer
    whose sides are primes has no such parts. The parts fix how many channels the layer reads and writes: cut channels
    first. In int8, TFLite's converter rounds more than the module does where a residual sum reads the floats that the
    layer reads, and ``verify`` refuses the file; Core ML and ONNX have no such trouble.

    Example:
        >>> module = nn.Sequential(nn.Linear(64, 128))
        >>> (site,) = Kronecker().sites(module, lambda module: (module(torch.zeros(1, 64)),))
        >>> site.dense.weights, site.most, site.cost(1).weights
        (8192, 64, 192)
        >>> Kronecker().apply(module, {"0": 2})(torch.zeros(5, 64)).shape
        torch.Size([5, 128])
    """

    def _cannot(self, layer: nn.Module) -> str | None:
        return None if type(layer) is nn.Linear else "is no Linear"

    def _most(self, layer: nn.Module) -> int:
        (a, b), (c, d) = _sides(layer)
        return min(a * c, b * d)

    def _parts(self, layer: nn.Module, rank: int) -> tuple[Part, ...]:
        (a, b), (c, d) = _sides(layer)
        return Part((b * rank, d), writes=c), Part((a, rank * c), writes=b)

    def _factors(self, layer: nn.Module, rank: int) -> tuple[Tensor, ...]:
        (a, b), (c, d) = _sides(layer)
        left, right = truncated(_rearranged(layer, numbers_of(layer)), rank)
        within = right[0].reshape(rank, b, d).transpose(0, 1)  # (b, r, d)
        between = left[0].reshape(a, c, rank).transpose(1, 2)  # (a, r, c)
        return within.reshape(b * rank, d), between.reshape(a, rank * c)

    def _product(self, layer: nn.Module, factors: tuple[Tensor, ...]) -> Tensor:
        (a, b), (c, d) = _sides(layer)
        within, between = factors[0].reshape(b, -1, d), factors[1].reshape(a, -1, c)
        blocks = between[:, None, :, :, None] * within[None, :, :, None]  # (a, b, r, c, d)
        return blocks.sum(2).reshape(a * b, c * d)

    def _units(self, layer: nn.Module) -> Units:
        along = terms(_rearranged(layer, numbers_of(layer)))
        return lambda other: along(_rearranged(layer, other))

    def _module(self, layer: nn.Module, weights: Weights) -> nn.Module:
        within, between = weights
        return KroneckerLinear(within, between, bias_of(layer))


class KroneckerLinear(nn.Module):
    """A linear layer whose weight is a sum of Kronecker products, as two linear layers over parts of the vectors.

    Args:
        within: shape ``(b r, d)``: mixes the d entries of each of the c parts of the input.
        between: shape ``(a, r c)``: mixes the parts.
        bias: shape ``(a b,)``.
    """

    def __init__(self, within: nn.Parameter, between: nn.Parameter, bias: Tensor | None) -> None:
        super().__init__()
        self.within, self.between = linear(within), linear(between)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., c d)`` to ``(..., a b)``."""
        parts = self.within(torch.unflatten(x, -1, (-1, self.within.in_features)))  # (..., c, b r)
        turned = parts.transpose(-1, -2).flatten(-2)  # (..., b r c)
        mixed = self.between(torch.unflatten(turned, -1, (-1, self.between.in_features)))  # (..., b, a)
        answer: Tensor = mixed.transpose(-1, -2).flatten(-2)
        return answer if self.bias is None else answer + self.bias


def _sides(layer: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    """Both sides of the weight, each in two: ``(a, b), (c, d)``."""
    rows, columns = weight_of(layer).shape
    return _parted(rows), _parted(columns)


def _parted(size: int) -> tuple[int, int]:
    """The two divisors that are nearest to each other, the smaller first."""
    small = next(number for number in range(math.isqrt(size), 0, -1) if size % number == 0)
    return small, size // small


def _rearranged(layer: nn.Module, weight: Tensor) -> Tensor:
    """Each of the a x c blocks as a row: ``(1, a c, b d)``; of a Kronecker product this has rank one."""
    (a, b), (c, d) = _sides(layer)
    return weight.reshape(a, b, c, d).transpose(1, 2).reshape(1, a * c, b * d)
