"""Which channels hang together, and that a cut network computes what the masked one does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobiledistill import InputError
from mobiledistill.prune import channel_groups, cut, importance, layer_shapes
from tests.networks import Residual, settled


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(torch.ones(1, 1, 16, 16)),)


def test_a_residual_sum_couples_its_branches() -> None:
    groups = {group.name: group for group in channel_groups(Residual(8), _run)}
    assert groups.keys() == {"stem.0", "first"}
    assert set(groups["stem.0"].writers) >= {"stem.0", "second", "depthwise"}
    assert "head" in groups["stem.0"].readers


def test_outputs_are_never_cut() -> None:
    assert all("head" not in group.writers for group in channel_groups(Residual(8), _run))


def test_layer_shapes_count_multiply_accumulates() -> None:
    shapes = {layer.name: layer for layer in layer_shapes(Residual(8), _run, channel_groups(Residual(8), _run))}
    assert shapes["stem.0"].macs == 8 * 1 * 3 * 3 * 8 * 8
    assert shapes["depthwise"].macs == 8 * 3 * 3 * 8 * 8
    assert shapes["depthwise"].reads is None
    assert shapes["head"].macs == 8 * 4


def test_the_cut_network_equals_the_masked_one(images: Tensor) -> None:
    module = settled(Residual(8), images)
    groups = channel_groups(module, _run)
    scores = importance(module, _run, groups, (module(images).square().mean() for _ in range(1)))
    smaller = cut(module, _run, {"first": 5}, scores)
    gone = scores["first"].argsort(stable=True)[:3]
    with torch.no_grad():
        module.first.weight[gone] = 0  # type: ignore[operator, union-attr]
        module.second.weight[:, gone] = 0  # type: ignore[operator, union-attr]
    torch.testing.assert_close(smaller(images), module(images), rtol=1e-4, atol=1e-5)


def test_importance_finds_the_channel_that_does_nothing(images: Tensor) -> None:
    module = settled(Residual(8), images)
    with torch.no_grad():
        module.second.weight[:, 3] = 0  # type: ignore[operator, union-attr]
    groups = channel_groups(module, _run)
    scores = importance(module, _run, groups, (module(images).square().mean() for _ in range(1)))
    assert int(scores["first"].argmin()) == 3
    assert float(scores["first"].sum()) == pytest.approx(1.0)


def test_cutting_more_than_there_is_is_refused(images: Tensor) -> None:
    module = Residual(8)
    scores = importance(module, _run, channel_groups(module, _run), iter([module(images).mean()]))
    with pytest.raises(InputError, match="cannot keep 9"):
        cut(module, _run, {"first": 9}, scores)
