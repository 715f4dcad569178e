"""The loop: it learns, it resumes to the same weights, it stops on nonsense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mobiledistill import Batch, Recipe, TrainingError
from mobiledistill.train import EpochLog, fit
from tests.networks import Residual, Stripes

TASK = Stripes()
RECIPE = Recipe(epochs=3, learning_rate=5e-3)


def _network() -> nn.Module:
    torch.manual_seed(1)
    return Residual()


def _loss(module: nn.Module, batch: Batch) -> Tensor:
    return TASK.loss({"logits": module(batch.inputs["image"])}, batch)


def test_it_learns() -> None:
    network = _network()
    logs = fit(network, TASK.train_batches, _loss, Recipe(epochs=6, learning_rate=1e-2))
    assert logs[-1].loss < 0.5 * logs[0].loss
    assert not network.training


def test_averaged_weights_are_those_that_were_scored_and_those_that_are_kept() -> None:
    last, averaged = _network(), _network()
    scored: list[Tensor] = []
    statistics = "stem.1.running_mean"

    def validate(module: nn.Module) -> float:
        scored.append(next(module.parameters()).detach().clone())
        return 0.0

    fit(last, TASK.train_batches, _loss, RECIPE)
    fit(averaged, TASK.train_batches, _loss, replace(RECIPE, average=0.9), validate=validate)
    kept = next(averaged.parameters()).detach()
    torch.testing.assert_close(scored[-1], kept, rtol=0, atol=0)
    assert not torch.equal(kept, next(last.parameters()))
    torch.testing.assert_close(kept, next(last.parameters()).detach(), rtol=0, atol=0.05)
    assert not torch.equal(averaged.state_dict()[statistics], last.state_dict()[statistics])


def test_long_trainings_are_scored_about_twenty_times() -> None:
    scores = 0

    def validate(_: nn.Module) -> float:
        nonlocal scores
        scores += 1
        return 0.0

    one = next(iter(TASK.train_batches(0)))
    logs = fit(_network(), lambda _: [one], _loss, Recipe(epochs=61), validate=validate)
    assert 18 <= scores <= 24
    assert logs[-1].score is not None


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, average: float) -> None:
    recipe = replace(RECIPE, average=average)
    whole, killed = _network(), _network()
    fit(whole, TASK.train_batches, _loss, recipe)

    class Killed(Exception):
        pass

    def kill(log: EpochLog) -> None:
        if log.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(killed, TASK.train_batches, _loss, recipe, checkpoint=tmp_path / "a.pt", report=kill)
    resumed = _network()
    logs = fit(resumed, TASK.train_batches, _loss, recipe, checkpoint=tmp_path / "a.pt")
    assert [log.epoch for log in logs] == [0, 1, 2]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    fit(_network(), TASK.train_batches, _loss, RECIPE, checkpoint=tmp_path / "a.pt")
    seen: list[EpochLog] = []
    fit(_network(), TASK.train_batches, _loss, RECIPE, checkpoint=tmp_path / "a.pt", report=seen.append)
    assert seen == []


def test_a_loss_that_is_not_finite_stops_with_advice() -> None:
    with pytest.raises(TrainingError, match="Lower learning_rate"):
        fit(_network(), TASK.train_batches, lambda m, b: _loss(m, b) * torch.nan, RECIPE)
