"""Tucker-2: a convolution between fewer channels, with a 1 x 1 convolution before and one after."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobiledistill.factorize._base import Factorization, Part, Units, Weights
from mobiledistill.factorize._layers import bias_of, in_turn, numbers_of, pointwise, weight_of, windowed

__all__ = ["Tucker"]


@dataclass(frozen=True)
class Tucker(Factorization):
    """Tucker-2 decomposition of convolutions (Kim et al. 2016, "Compression of deep convolutional neural networks").

    You gain most where kernels are large and channels many, since both sides of the costly middle shrink: at half of
    the channels it has a quarter of the weights. You lose what the dropped channels carried, and two small layers come
    to the layer::

        Conv2d(in, out, k)  ->  Conv2d(in, r_in, 1), Conv2d(r_in, r_out, k), Conv2d(r_out, out, 1)

    Rank r of ``max(in, out)`` keeps the same share of both: ``r_in = ceil(r in / max(in, out))`` and likewise
    ``r_out``. Bases are the leading singular vectors of the unfolded weight (HOSVD, De Lathauwer et al. 2000): those of
    a rank begin with those of every smaller one, so the error falls with the rank, which alternating refinement
    (HOOI) does not promise.

    Example:
        >>> module = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2))
        >>> (site,) = Tucker().sites(module, lambda module: (module(torch.zeros(1, 16, 8, 8)),))
        >>> site.dense.weights, site.most, site.cost(16).weights
        (12800, 32, 3840)
        >>> Tucker().apply(module, {"0": 16})[0].core
        Conv2d(8, 16, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), bias=False)
    """

    def _cannot(self, layer: nn.Module) -> str | None:
        if type(layer) is not nn.Conv2d:
            return "is no Conv2d"
        if layer.groups > 1:
            return f"has {layer.groups} groups"
        return "has a kernel of 1 x 1, where LowRank does the same" if layer.kernel_size == (1, 1) else None

    def _most(self, layer: nn.Module) -> int:
        return max(weight_of(layer).shape[:2])

    def _parts(self, layer: nn.Module, rank: int) -> tuple[Part, ...]:
        outputs, inputs, *kernel = weight_of(layer).shape
        written, read = self._kept(layer, rank)
        return (
            Part((read, inputs, 1, 1), reads=1),
            Part((written, read, *kernel), writes=1),
            Part((outputs, written, 1, 1), writes=1),
        )

    def _factors(self, layer: nn.Module, rank: int) -> tuple[Tensor, ...]:
        core, outward, inward = _rotated(numbers_of(layer))
        written, read = self._kept(layer, rank)
        return inward[:, :read].T[..., None, None], core[:written, :read], outward[:, :written][..., None, None]

    def _product(self, layer: nn.Module, factors: tuple[Tensor, ...]) -> Tensor:
        reduce, core, expand = factors
        product: Tensor = torch.einsum("or,rshw,si->oihw", expand[..., 0, 0], core, reduce[..., 0, 0])
        return product

    def _units(self, layer: nn.Module) -> Units:
        core, outward, inward = _rotated(numbers_of(layer))
        written, read = zip(*(self._kept(layer, rank) for rank in range(1, self._most(layer) + 1)), strict=True)
        last = torch.tensor(written) - 1, torch.tensor(read) - 1

        def along(other: Tensor) -> Tensor:
            products = core * _in_bases(other.to(core.dtype), outward, inward)
            corners = products.sum((2, 3)).cumsum(0).cumsum(1)[last]  # what each rank keeps
            return corners.diff(prepend=corners.new_zeros(1))

        return along

    def _module(self, layer: nn.Module, weights: Weights) -> nn.Module:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101  # the only kind that passed
        reduce, core, expand = weights
        return in_turn(reduce=pointwise(reduce), core=windowed(layer, core), expand=pointwise(expand, bias_of(layer)))

    def _kept(self, layer: nn.Module, rank: int) -> tuple[int, int]:
        """Channels that the middle writes and reads."""
        outputs, inputs = weight_of(layer).shape[:2]
        most = max(outputs, inputs)
        return -(-rank * outputs // most), -(-rank * inputs // most)


def _rotated(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weight in the bases of its own channels, and these: of the outputs, then of the inputs."""
    outward, inward = _basis(weight.flatten(1)), _basis(weight.transpose(0, 1).flatten(1))
    return _in_bases(weight, outward, inward), outward, inward


def _in_bases(weight: Tensor, outward: Tensor, inward: Tensor) -> Tensor:
    rotated: Tensor = torch.einsum("oihw,or,is->rshw", weight, outward, inward)
    return rotated


def _basis(unfolded: Tensor) -> Tensor:
    """All left singular vectors, the strongest first; those of the squares are a whole basis even of a tall matrix."""
    vectors: Tensor = torch.linalg.eigh(unfolded @ unfolded.T).eigenvectors
    return vectors.flip(1)
