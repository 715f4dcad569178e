"""Ties that fall another way: what a deep network makes of them is allowed to a file, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import ParityError, Program, compare, convert, verify
from converters._ties import TiesOtherwise
from mobiledistill.quantize import post_training


class Averages(nn.Module):
    """Averages of four, whose sums lie between two integers one time in four, and convolutions that carry it on.

    Args:
        layers: how many convolutions; the averages stand behind the first.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(layers)])
        for conv in self.convs:
            nn.init.normal_(conv.weight, std=0.25)  # each layer carries on what the one before did, and more

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convs
        x = self.pool(torch.relu(first(x)))
        for conv in others:
            x = torch.relu(conv(x))
        return x


class Largest(Averages):
    """The same integers, and another operator: no difference between integers gives it away."""

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, stride=1)


def _quantized(kind: type[Averages], layers: int) -> Program:
    torch.manual_seed(0)
    module = kind(layers).eval()
    (quantized,) = post_training(
        Program(module, {"x": torch.randn(1, 8, 16, 16)}, ("means",)), {"x": torch.randn(16, 8, 16, 16)}
    )
    return quantized


@torch.no_grad()
def test_ties_fall_as_the_seed_says_and_nothing_else_changes() -> None:
    program = _quantized(Averages, 1)
    x = torch.randn(1, 8, 16, 16)
    own, one, other = program.module(x), TiesOtherwise(program, 0)(x), TiesOtherwise(program, 1)(x)
    one, other = (answer if isinstance(answer, Tensor) else answer[0] for answer in (one, other))
    own = own if isinstance(own, Tensor) else own[0]
    assert not torch.equal(one, other)
    assert compare({"y": own.numpy()}, {"y": one.numpy()}).sqnr_db > 25


def test_a_deep_network_may_carry_ties_on_but_hides_no_other_operator(tmp_path: Path) -> None:
    program = _quantized(Averages, 5)
    inputs = {"x": np.random.default_rng(0).normal(size=(32, 8, 16, 16)).astype(np.float32)}
    path = convert(program, tmp_path / "a.onnx")
    parity = verify(path, program, inputs)
    assert parity.max_steps is not None
    assert parity.max_steps > 1.5  # beyond what a shallow network is allowed

    wrong = convert(_with_maxima(program), tmp_path / "b.onnx")
    with pytest.raises(ParityError, match="departs from its module"):
        verify(wrong, program, inputs)


def _with_maxima(program: Program) -> Program:
    """The same graph and grids, its averages made maxima."""
    import copy

    module = copy.deepcopy(program.module)
    for node in module.graph.nodes:  # type: ignore[union-attr]  # a GraphModule, as post_training makes it
        if node.target in (F.avg_pool2d, torch._C._nn.avg_pool2d):
            node.target = F.max_pool2d
    module.recompile()  # type: ignore[operator]  # likewise
    return Program(module, program.inputs, program.outputs, program.name)
