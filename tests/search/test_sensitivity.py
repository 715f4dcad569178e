"""How the loss answers to one cut at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mobiledistill.prune import Trials, channel_groups, cut, importance, without_blocks
from mobiledistill.search import Sensitivity, Trial, sensitivity
from tests.networks import settled
from tests.prune.test_blocks import Blocks, run

IMAGES = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _losses(module: nn.Module) -> Iterator[Tensor]:
    for part in IMAGES.split(4):
        yield module(part).square().mean()


def test_what_matters_makes_the_loss_rise() -> None:
    module = settled(Blocks(), IMAGES)
    with torch.no_grad():
        module.blocks[0].second.weight.zero_()  # type: ignore[union-attr, operator, index]  # the first block does nothing
    blocks = ("blocks.0", "blocks.1")
    trials = [Trial(block, 0, partial(nullcontext, without_blocks(module, [block]))) for block in blocks]
    found = sensitivity(module, trials, _losses)
    assert found.rises["blocks.0"] == {0: 0.0}
    assert abs(found.rises["blocks.1"][0]) > 1e-6
    with torch.no_grad():
        assert found.loss == pytest.approx(float(torch.stack(list(_losses(module))).mean()))
    assert found.seconds > 0
    assert Sensitivity.from_json(found.to_json()) == found


def test_a_loss_that_is_no_number_is_the_worst_rise() -> None:
    module = Blocks()
    broken = copy.deepcopy(module)
    with torch.no_grad():
        broken.stem.weight.fill_(torch.nan)  # type: ignore[operator]
    found = sensitivity(module, [Trial("stem", 1, partial(nullcontext, broken))], _losses)
    assert found.rises["stem"] == {1: torch.inf}
    assert Sensitivity.from_json(found.to_json()) == found


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
