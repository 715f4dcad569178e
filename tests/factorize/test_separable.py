"""Separable convolutions keep the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from mobiledistill.factorize import Separable
from tests.contract.factorizations import FactorizationContract, assert_close, convolutions


class TestSeparable(FactorizationContract):
    method = Separable()
    finds: ClassVar[Mapping[str, list[str]]] = {"residual": ["stem.0", "first", "second"], "block": [], "bag": []}
    cuttable: ClassVar[list[str]] = ["stem.0.pointwise", "first.pointwise"]
    layers = convolutions().filter(lambda drawn: drawn[0].kernel_size != (1, 1))
    foreign: ClassVar[Mapping[str, nn.Module]] = {
        "has 8 groups": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)),
        "is no Conv2d": nn.Sequential(nn.Linear(16, 16)),
        "has a kernel of 1 x 1, which nothing can separate": nn.Sequential(nn.Conv2d(16, 16, 1)),
        "is too small to gain: even rank 1 has no fewer weights": nn.Sequential(nn.Conv2d(3, 1, 3)),
    }


def test_the_sum_of_separable_convolutions_is_one() -> None:
    depthwise = [nn.Conv2d(5, 5, 3, groups=5, bias=False) for _ in range(2)]
    pointwise = [nn.Conv2d(5, 7, 1, bias=False) for _ in range(2)]
    dense = nn.Conv2d(5, 7, 3, bias=False)
    with torch.no_grad():
        dense.weight.copy_(sum(mix.weight * own.weight[:, 0] for own, mix in zip(depthwise, pointwise, strict=True)))
    images = torch.randn(2, 5, 8, 8)

    smaller = Separable().apply(nn.Sequential(dense), {"0": 2})

    assert_close(smaller(images), sum(mix(own(images)) for own, mix in zip(depthwise, pointwise, strict=True)))
