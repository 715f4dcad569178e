"""Tucker-2 keeps the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from mobiledistill.factorize import Tucker
from tests.contract.factorizations import FactorizationContract, assert_close, convolutions


class TestTucker(FactorizationContract):
    method = Tucker()
    finds: ClassVar[Mapping[str, list[str]]] = {"residual": ["stem.0", "first", "second"], "block": [], "bag": []}
    cuttable: ClassVar[list[str]] = ["stem.0.expand", "first.expand"]
    layers = convolutions().filter(lambda drawn: drawn[0].kernel_size != (1, 1))
    foreign: ClassVar[Mapping[str, nn.Module]] = {
        "has 8 groups": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)),
        "is no Conv2d": nn.Sequential(nn.Linear(16, 16)),
        "has a kernel of 1 x 1, where LowRank does the same": nn.Sequential(nn.Conv2d(16, 16, 1)),
        "is too small to gain: even rank 1 has no fewer weights": nn.Sequential(nn.Conv2d(1, 1, 3)),
    }


def test_both_sides_keep_the_same_share() -> None:
    module = nn.Sequential(nn.Conv2d(6, 16, 3))
    smaller = Tucker().apply(module, {"0": 8})[0]  # type: ignore[index]
    assert [tuple(layer.weight.shape) for layer in smaller] == [(3, 6, 1, 1), (8, 3, 3, 3), (16, 8, 1, 1)]


def test_a_weight_made_of_fewer_channels_is_found() -> None:
    """Channels 4 of 8 in, 6 of 12 out: rank 6 of 12 keeps the same and loses nothing."""
    layer = nn.Conv2d(8, 12, 3)
    outward, inward = torch.randn(12, 6), torch.randn(8, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("rshw,or,is->oihw", torch.randn(6, 4, 3, 3), outward, inward) / 10)
    module = nn.Sequential(layer)
    images: Tensor = torch.randn(2, 8, 7, 7)

    assert_close(Tucker().apply(module, {"0": 6})(images), module(images))
    (site,) = Tucker().sites(module, lambda module: (module(images[:1]),))
    assert Tucker().rank_for(module, site, 0.9999) <= 6
