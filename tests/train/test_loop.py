"""The loop: it learns, it resumes to the same weights, it stops on nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from mobiledistill import Batch, InputError, Recipe, TrainingError
from mobiledistill._lesson import Lesson
from mobiledistill.distill import OutputLoss, Step
from mobiledistill.teachers import TorchTeacher
from mobiledistill.train import Doctor, EpochLog, fit
from tests.networks import Residual, Stripes

TASK = Stripes()
RECIPE = Recipe(epochs=3, learning_rate=5e-3)


def _network() -> nn.Module:
    torch.manual_seed(1)
    return Residual()


def _lesson(network: nn.Module) -> Lesson:
    return Lesson(TASK, {"main": network})


class _Endless(nn.Module):
    def __init__(self, lesson: nn.Module) -> None:
        super().__init__()
        self.lesson = lesson

    def forward(self, batch: Batch, progress: float) -> Tensor:
        loss: Tensor = self.lesson(batch, progress)
        return loss * torch.nan


def test_it_learns() -> None:
    network = _network()
    logs = fit(_lesson(network), TASK.train_batches, Recipe(epochs=6, learning_rate=1e-2))
    assert logs[-1].loss < 0.5 * logs[0].loss
    assert not network.training


def test_averaged_weights_are_those_that_were_scored_and_those_that_are_kept() -> None:
    last, averaged = _network(), _network()
    scored: list[Tensor] = []
    statistics = "stem.1.running_mean"

    def validate() -> float:
        scored.append(next(averaged.parameters()).detach().clone())
        return 0.0

    fit(_lesson(last), TASK.train_batches, RECIPE)
    fit(_lesson(averaged), TASK.train_batches, replace(RECIPE, average=0.9), validate=validate)
    kept = next(averaged.parameters()).detach()
    torch.testing.assert_close(scored[-1], kept, rtol=0, atol=0)
    assert not torch.equal(kept, next(last.parameters()))
    torch.testing.assert_close(kept, next(last.parameters()).detach(), rtol=0, atol=0.05)
    assert not torch.equal(averaged.state_dict()[statistics], last.state_dict()[statistics])


def test_long_trainings_are_scored_about_twenty_times() -> None:
    scores = 0

    def validate() -> float:
        nonlocal scores
        scores += 1
        return 0.0

    one = next(iter(TASK.train_batches(0)))
    logs = fit(_lesson(_network()), lambda _: [one], Recipe(epochs=61), validate=validate)
    assert 18 <= scores <= 24
    assert logs[-1].score is not None


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, average: float) -> None:
    recipe = replace(RECIPE, average=average)
    whole, killed = _network(), _network()
    fit(_lesson(whole), TASK.train_batches, recipe)

    class Killed(Exception):
        pass

    def kill(log: EpochLog) -> None:
        if log.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(_lesson(killed), TASK.train_batches, recipe, checkpoint=tmp_path / "a.pt", report=kill)
    resumed = _network()
    logs = fit(_lesson(resumed), TASK.train_batches, recipe, checkpoint=tmp_path / "a.pt")
    assert [log.epoch for log in logs] == [0, 1, 2]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    fit(_lesson(_network()), TASK.train_batches, RECIPE, checkpoint=tmp_path / "a.pt")
    seen: list[EpochLog] = []
    fit(_lesson(_network()), TASK.train_batches, RECIPE, checkpoint=tmp_path / "a.pt", report=seen.append)
    assert seen == []


def test_a_loss_that_is_not_finite_stops_with_advice() -> None:
    with pytest.raises(TrainingError, match="Lower learning_rate"):
        fit(_Endless(_lesson(_network())), TASK.train_batches, RECIPE)


def test_patience_stops_and_keeps_the_best_weights(tmp_path: Path) -> None:
    network = _network()
    scores = iter([1.0, 3.0, 2.0, 2.0, 2.5, 9.0])
    weights: list[Tensor] = []

    def validate() -> float:
        weights.append(next(network.parameters()).detach().clone())
        return next(scores)

    recipe = replace(RECIPE, epochs=6, patience=2)
    logs = fit(_lesson(network), TASK.train_batches, recipe, validate=validate)
    assert [log.score for log in logs] == [1.0, 3.0, 2.0, 2.0, 2.5]
    torch.testing.assert_close(next(network.parameters()).detach(), weights[1], rtol=0, atol=0)

    falling, errors = _network(), iter([5.0, 4.0, 6.0, 7.0])
    logs = fit(
        _lesson(falling),
        TASK.train_batches,
        replace(RECIPE, epochs=4, patience=0),
        validate=lambda: next(errors),
        higher_is_better=False,
    )
    assert [log.score for log in logs] == [5.0, 4.0, 6.0]


def test_accumulated_batches_are_one_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    clip = Accelerator.clip_grad_norm_

    def noted(self: Accelerator, *arguments: Any) -> Any:
        norms.append(float(clip(self, *arguments)))

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", noted)

    class Halves(Stripes):
        def train_batches(self, epoch: int) -> Iterator[Batch]:
            for batch in super().train_batches(epoch):
                for rows in (slice(None, None, 2), slice(1, None, 2)):
                    yield Batch(
                        {name: value[rows] for name, value in batch.inputs.items()},
                        {name: value[rows] for name, value in batch.targets.items()},
                    )

    def plain() -> nn.Module:  # without norms over the batch
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 4))

    whole, halves = plain(), plain()
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0.0)
    fit(_lesson(whole), TASK.train_batches, recipe)
    fit(_lesson(halves), Halves().train_batches, replace(recipe, accumulate=2))
    assert norms[8:] == pytest.approx(norms[:8], rel=1e-3)  # gradients are averaged, not added up
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(
            halves.state_dict()[name], value, rtol=1e-2, atol=2e-3
        )  # the rate moves half a batch


def test_epochs_too_large_to_hold_are_counted_and_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    held, counted = _network(), _network()
    fit(_lesson(held), TASK.train_batches, RECIPE)
    monkeypatch.setattr("mobiledistill.train._loop._HELD_BYTES", 100_000)
    fit(_lesson(counted), TASK.train_batches, RECIPE)
    for name, value in held.state_dict().items():
        torch.testing.assert_close(counted.state_dict()[name], value, rtol=0, atol=0)


def test_16_bits_learn_as_well() -> None:
    network = _network()
    logs = fit(_lesson(network), TASK.train_batches, replace(RECIPE, epochs=6, learning_rate=1e-2, precision="bf16"))
    assert logs[-1].loss < 0.5 * logs[0].loss
    again = _network()
    full = fit(_lesson(again), TASK.train_batches, replace(RECIPE, epochs=6, learning_rate=1e-2, precision="no"))
    assert full[-1].loss != logs[-1].loss
    fit(_lesson(_network()), TASK.train_batches, replace(RECIPE, epochs=1, precision="bf16"))
    unsaid = fit(_lesson(_network()), TASK.train_batches, replace(RECIPE, epochs=6, learning_rate=1e-2))
    assert unsaid == full  # the precision of an earlier training is not inherited


def test_losses_and_teachers_compute_in_32_bits_where_the_student_does_not() -> None:
    class Said(nn.Module):
        """Answers what it is given, in 16 bits where autocast says so."""

        def forward(self, image: Tensor) -> Tensor:
            answer = functional.linear(image.flatten(1)[:, :4], torch.eye(4))
            kinds.append(answer.dtype)
            return answer

    class Noting(OutputLoss):
        """Multiplies matrices, which autocast would do in 16 bits."""

        def __call__(self, step: Step) -> Tensor:
            product = step.student["logits"] @ step.teacher["logits"].T
            kinds.append(product.dtype)
            return product.mean()

    kinds: list[torch.dtype] = []
    student, teacher = Said(), Said()
    lesson = Lesson(TASK, {"main": student}, TorchTeacher(teacher), Noting())
    with torch.autocast("cpu", torch.bfloat16):
        lesson(next(iter(TASK.train_batches(0))))
    assert kinds == [torch.bfloat16, torch.float32, torch.float32]  # student, teacher, loss


@pytest.mark.parametrize("wrong", [{"accumulate": 0}, {"patience": -1}, {"precision": "fp8"}])
def test_recipes_that_cannot_be_cooked_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Recipe(epochs=1, **wrong)  # type: ignore[arg-type]


def test_no_gradient_outlives_an_epoch_whose_last_batch_was_left_out() -> None:
    class LastIsBroken(Stripes):
        def train_batches(self, epoch: int) -> Iterator[Batch]:
            batches = list(super().train_batches(epoch))
            yield from batches[:-1]
            yield replace(batches[-1], inputs={"image": batches[-1].inputs["image"] * torch.nan})

    network = _network()
    recipe = replace(RECIPE, epochs=1, accumulate=2)
    before = [value.detach().clone() for value in network.parameters()]
    fit(_lesson(network), LastIsBroken().train_batches, recipe, doctor=Doctor())
    assert all(value.grad is None for value in network.parameters())
    assert not any(torch.equal(value, old) for value, old in zip(network.parameters(), before, strict=True))


def test_batches_that_cannot_be_shared_are_refused() -> None:
    from mobiledistill.train._loop import _share

    two = cast(Accelerator, SimpleNamespace(num_processes=2, process_index=1))
    image, labels = torch.arange(5.0), torch.arange(5)
    share, weight = _share(Batch({"image": image}, {"label": labels, "scale": torch.tensor(3.0)}), two)
    assert share.inputs["image"].tolist() == share.targets["label"].tolist() == [1, 3]
    assert (share.targets["scale"], weight) == (3.0, 4 / 5)
    with pytest.raises(InputError, match="boxes has another number of rows"):
        _share(Batch({"image": image}, {"boxes": torch.zeros(9, 4)}), two)
