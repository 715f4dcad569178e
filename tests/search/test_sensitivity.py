"""How the loss answers to one cut at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mobiledistill.prune import Trials, channel_groups, cut, importance, residual_blocks
from mobiledistill.search import sensitivity
from tests.networks import settled
from tests.prune.test_blocks import Blocks, run

IMAGES = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _losses(module: nn.Module) -> Iterator[Tensor]:
    for part in IMAGES.split(4):
        yield module(part).square().mean()


def test_what_matters_makes_the_loss_rise_and_the_module_stays_whole() -> None:
    module = settled(Blocks(), IMAGES)
    with torch.no_grad():
        module.blocks[0].second.weight.zero_()  # type: ignore[union-attr, operator, index]  # the first block does nothing
    before = {name: value.clone() for name, value in module.state_dict().items()}
    groups, blocks = channel_groups(module, run), residual_blocks(module, run)
    scores = importance(module, run, groups, _losses(module))
    found = sensitivity(module, run, groups, scores, blocks, _losses)
    assert found.rises["blocks.0"] == {0: 0.0}
    assert abs(found.rises["blocks.1"][0]) > 1e-6
    assert set(found.rises) == {group.name for group in groups} | set(blocks)
    assert set(found.rises["stem"]) == {6, 4, 2}
    with torch.no_grad():
        assert found.loss == pytest.approx(float(torch.stack(list(_losses(module))).mean()))
    again = sensitivity(module, run, groups, scores, blocks, _losses)
    assert again.rises == found.rises  # a cut that was tried leaves nothing behind
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_cut_for_a_moment_is_the_cut_itself() -> None:
    module = settled(Blocks(), IMAGES)
    groups = channel_groups(module, run)
    scores = importance(module, run, groups, _losses(module))
    trials = Trials(module, run)
    for group in groups:
        gone = sorted(scores[group.name].argsort(stable=True)[:3].tolist())
        with trials.cut(group.name, gone) as smaller:
            expected = cut(module, run, {group.name: group.channels - 3}, scores)
            torch.testing.assert_close(smaller(IMAGES), expected(IMAGES))
        torch.testing.assert_close(trials._module(IMAGES), module(IMAGES))
