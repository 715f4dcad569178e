"""Separable convolutions: filters over each channel of its own, then mixtures of channels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mobiledistill.factorize._base import Factorization, Part, Units, Weights
from mobiledistill.factorize._layers import bias_of, in_turn, numbers_of, pointwise, weight_of, windowed
from mobiledistill.factorize._singular import terms, truncated

__all__ = ["Separable"]


@dataclass(frozen=True)
class Separable(Factorization):
    """A dense convolution as a sum of r depthwise convolutions, each with its pointwise one.

    You gain about ``k k / r`` of the weights and multiply-accumulates where channels are many; r = 1 is the depthwise
    separable convolution that phones run best (Howard et al. 2017, MobileNets). You lose what r filters an input
    channel cannot span: each channel keeps its r best, by singular value decomposition of its ``k k x out`` weights
    (Guo et al. 2018, "Network decoupling"). Above r = 1 channels that it reads cannot be cut any more: cut first::

        Conv2d(in, out, k)  ->  Conv2d(in, r in, k, groups=in), Conv2d(r in, out, 1)      r in (k k + out) weights

    Example:
        >>> module = nn.Sequential(nn.Conv2d(16, 32, 3))
        >>> (site,) = Separable().sites(module, lambda module: (module(torch.zeros(1, 16, 8, 8)),))
        >>> site.dense.weights, site.most, site.cost(1).weights
        (4608, 9, 656)
        >>> Separable().apply(module, {"0": 1})[0].depthwise
        Conv2d(16, 16, kernel_size=(3, 3), stride=(1, 1), groups=16, bias=False)
    """

    def _cannot(self, layer: nn.Module) -> str | None:
        if type(layer) is not nn.Conv2d:
            return "is no Conv2d"
        if layer.groups > 1:
            return f"has {layer.groups} groups"
        return "has a kernel of 1 x 1, which nothing can separate" if layer.kernel_size == (1, 1) else None

    def _most(self, layer: nn.Module) -> int:
        return min(_by_input(weight_of(layer)).shape[1:])

    def _parts(self, layer: nn.Module, rank: int) -> tuple[Part, ...]:
        outputs, inputs, *kernel = weight_of(layer).shape
        return Part((inputs * rank, 1, *kernel), writes=1), Part((outputs, inputs * rank, 1, 1), writes=1)

    def _factors(self, layer: nn.Module, rank: int) -> tuple[Tensor, ...]:
        mixtures, filters = truncated(_by_input(numbers_of(layer)), rank)  # (in, out, r) and (in, r, k k)
        depthwise, pointwise_ = self._parts(layer, rank)
        return filters.reshape(depthwise.shape), mixtures.transpose(0, 1).reshape(pointwise_.shape)

    def _product(self, layer: nn.Module, factors: tuple[Tensor, ...]) -> Tensor:
        outputs, inputs, *kernel = weight_of(layer).shape
        filters, mixtures = factors[0].reshape(inputs, -1, *kernel), factors[1].reshape(outputs, inputs, -1)
        return (mixtures[..., None, None] * filters).sum(2)

    def _units(self, layer: nn.Module) -> Units:
        along = terms(_by_input(numbers_of(layer)))
        return lambda other: along(_by_input(other))

    def _module(self, layer: nn.Module, weights: Weights) -> nn.Module:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101  # the only kind that passed
        filters, mixtures = weights
        return in_turn(
            depthwise=windowed(layer, filters, groups=layer.in_channels),
            pointwise=pointwise(mixtures, bias_of(layer)),
        )


def _by_input(weight: Tensor) -> Tensor:
    """A matrix for each input channel: ``(in, out, k k)``."""
    return weight.transpose(0, 1).flatten(2)
