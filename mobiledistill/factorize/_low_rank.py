"""Low rank: a matrix as the product of a tall one and a wide one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mobiledistill.factorize._base import Factorization, Part, Units, Weights
from mobiledistill.factorize._layers import bias_of, in_turn, linear, numbers_of, pointwise, table, weight_of, windowed
from mobiledistill.factorize._singular import terms, truncated

__all__ = ["LowRank"]


@dataclass(frozen=True)
class LowRank(Factorization):
    """Truncated singular value decomposition of linear layers, convolutions and embeddings.

    You gain weights and multiply-accumulates in proportion to the rank, in operators that every runtime has; you lose
    what the dropped singular values carried, which a short training wins back in part, and a layer's latency where
    it is so small that calling a second one costs more than it saves. Of all matrices of that rank the product is the
    nearest to the weight (Eckart and Young 1936)::

        Linear(in, out)         Linear(in, r), Linear(r, out)               r (in + out) weights
        Conv2d(in, out, k)      Conv2d(in, r, k), Conv2d(r, out, 1)         r (in k k + out)
        Embedding(rows, width)  Embedding(rows, r), Linear(r, width)        r (rows + width)

    The convolution is the one of Zhang et al. 2015 ("Accelerating very deep convolutional networks"), the embedding
    that of ALBERT (Lan et al. 2020). An embedding and a linear layer that hold one weight go on sharing the factor of
    as many rows as the vocabulary; the small factors, one the other's transposition at first, learn apart.

    Example:
        >>> module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> sites = LowRank().sites(module, lambda module: (module(torch.zeros(1, 64)),))
        >>> [(site.name, site.most, site.largest_rank(1000)) for site in sites]
        [('0', 32, 10), ('2', 10, 10)]
        >>> LowRank().apply(module, {"0": 10})[0]
        Sequential(
          (reduce): Linear(in_features=64, out_features=10, bias=False)
          (expand): Linear(in_features=10, out_features=32, bias=True)
        )
    """

    def _cannot(self, layer: nn.Module) -> str | None:
        if type(layer) not in (nn.Linear, nn.Conv2d, nn.Embedding):
            return "is no Linear, Conv2d or Embedding"
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return f"has {layer.groups} groups"
        if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
            return "bounds the norm of its rows"
        return None

    def _most(self, layer: nn.Module) -> int:
        return min(weight_of(layer).flatten(1).shape)

    def _parts(self, layer: nn.Module, rank: int) -> tuple[Part, ...]:
        rows, *columns = weight_of(layer).shape
        if isinstance(layer, nn.Embedding):
            return Part((rows, rank)), Part((*columns, rank), writes=1)
        ones = (1,) * (len(columns) - 1)
        return Part((rank, *columns), writes=1), Part((rows, rank, *ones), writes=1)

    def _factors(self, layer: nn.Module, rank: int) -> tuple[Tensor, ...]:
        left, right = (stack[0] for stack in truncated(numbers_of(layer).flatten(1)[None], rank))
        if isinstance(layer, nn.Embedding):
            return left, right.T
        reduce, expand = self._parts(layer, rank)
        return right.reshape(reduce.shape), left.reshape(expand.shape)

    def _product(self, layer: nn.Module, factors: tuple[Tensor, ...]) -> Tensor:
        first, second = (factor.flatten(1) for factor in factors)
        product = first @ second.T if isinstance(layer, nn.Embedding) else second @ first
        return product.reshape(weight_of(layer).shape)

    def _units(self, layer: nn.Module) -> Units:
        along = terms(numbers_of(layer).flatten(1)[None])
        return lambda other: along(other.flatten(1)[None])

    def _shared(self, layer: nn.Module) -> int | None:
        return {nn.Embedding: 0, nn.Linear: 1}.get(type(layer))

    def _module(self, layer: nn.Module, weights: Weights) -> nn.Module:
        first, second = weights
        if isinstance(layer, nn.Embedding):
            return in_turn(table=table(layer, first), expand=linear(second))
        if isinstance(layer, nn.Conv2d):
            return in_turn(reduce=windowed(layer, first), expand=pointwise(second, bias_of(layer)))
        return in_turn(reduce=linear(first), expand=linear(second, bias_of(layer)))
