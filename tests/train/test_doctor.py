"""The doctor: planted illnesses are named and, where they can be, healed; healthy runs hear nothing."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobiledistill import Batch, Care, Finding, Illness, InputError, Recipe, Task, TrainingError, train_model
from mobiledistill._student import predictor
from mobiledistill.distill import HardTargets, Hints, Loss, SoftTargets, StandardizedTargets, TransferSet
from mobiledistill.teachers import Cached, TorchTeacher
from mobiledistill.train import Doctor, read_findings
from tests.networks import Residual, Stripes

RECIPE = Recipe(epochs=8, learning_rate=1e-2)


class Changed(Stripes):
    """The stripes, with something wrong in training."""

    def __init__(self, change: object = None, **sizes: int) -> None:
        super().__init__(**sizes)
        self._change = change

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        for number, batch in enumerate(super().train_batches(epoch)):
            yield self._change(batch, epoch, number) if callable(self._change) else batch


@cache
def _teacher() -> nn.Module:
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        return train_model(Residual(16), Stripes(1024), Recipe(epochs=12, learning_rate=1e-2), workdir=folder)


def _student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Residual(8)


def _run(
    folder: Path,
    task: Task,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    loss: Loss | None = None,
    recipe: Recipe = RECIPE,
    care: Care = Care(),  # noqa: B008
) -> tuple[list[Finding], float]:
    """What the doctor found, and the validation accuracy in the end."""
    net = train_model(
        student or _student(),
        task,
        recipe,
        workdir=folder,
        teacher=teacher or _teacher(),
        distill=loss or SoftTargets(),
        care=care,
    )
    score = Stripes().evaluate(predictor(Stripes(), {"main": net}), "validation").value
    return _findings(folder), score


def _findings(folder: Path) -> list[Finding]:
    (file,) = folder.glob("doctor-*.json")
    return read_findings(file)


def _kinds(findings: list[Finding]) -> set[Illness]:
    return {finding.illness for finding in findings}


def _shuffled(batch: Batch, epoch: int, number: int) -> Batch:
    order = np.random.default_rng((epoch, number)).permutation(len(batch.targets["label"]))
    return replace(batch, targets={"label": batch.targets["label"][order]})


def _with_nan(batch: Batch, epoch: int, number: int) -> Batch:
    if (epoch, number) != (1, 3):
        return batch
    image = batch.inputs["image"].clone()
    image[5, 0, 3, 3] = torch.nan
    return replace(batch, inputs={"image": image})


def _other_scale(batch: Batch, epoch: int, number: int) -> Batch:
    return replace(batch, inputs={"image": 60 * batch.inputs["image"] + 128})


def _slow(batch: Batch, epoch: int, number: int) -> Batch:
    time.sleep(0.15)
    return batch


class Doubled(Stripes):
    """Every batch comes twice."""

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        for batch in super().train_batches(epoch):
            yield batch
            yield batch


def _untrained() -> nn.Module:
    torch.manual_seed(3)
    return Residual(16)


def _frozen() -> nn.Module:
    student = _student()
    for name, value in student.named_parameters():
        value.requires_grad_(name.startswith("head"))
    return student


@pytest.mark.parametrize(
    "losses", [[3.0, 0.5, 0.4, 0.5, 0.6, 0.7, 0.5], [3.0, 0.1, 0.5, 0.4, 0.6, 0.3], [1, -2, -1, 0, 1]]
)
def test_a_loss_that_moves_a_little_is_left_alone(losses: list[float]) -> None:
    doctor = Doctor()
    assert [doctor.epoch(epoch, 10, loss, None, True, dict) for epoch, loss in enumerate(losses)] == [None] * len(
        losses
    )
    assert doctor.findings == []


class TestPlanted:
    """Each illness is named; what can be healed, is."""

    def test_a_rate_100_times_too_high(self, tmp_path: Path) -> None:
        recipe = replace(RECIPE, learning_rate=1.0, warmup_epochs=0.0, epochs=10)
        ill, without = _run(tmp_path / "look", Stripes(), recipe=recipe, care=Care.look_only())
        assert _kinds(ill) & {Illness.DIVERGES, Illness.LEARNS_NOTHING}
        found, healed = _run(tmp_path / "heal", Stripes(), recipe=recipe)
        assert any(finding.action for finding in found)
        assert healed > without + 10

    @pytest.mark.parametrize("rollbacks", [0, 1])
    def test_a_loss_that_was_low_and_rises(self, rollbacks: int) -> None:
        doctor = Doctor(Care(rollbacks=rollbacks))
        told = [
            doctor.epoch(epoch, 10, loss, None, True, partial(dict, after=loss))
            for epoch, loss in enumerate([3.0, 0.5, 0.4, 0.7, 1.2, 2.0])
        ]
        assert told[:5] == [None] * 5
        assert told[5] == ({"after": 0.4} if rollbacks else None)
        assert _kinds(doctor.findings) == {Illness.DIVERGES}
        assert "fell to 0.4" in doctor.findings[0].seen

    def test_a_temperature_of_100(self, tmp_path: Path) -> None:
        found, score = _run(tmp_path, Stripes(), loss=SoftTargets(temperature=100.0))
        assert _kinds(found) == {Illness.TARGETS_TOO_SOFT}
        assert found[0].action == "lowered the temperature to 4."
        assert score > 80

    def test_shuffled_labels(self, tmp_path: Path) -> None:
        found, score = _run(tmp_path / "heal", Changed(_shuffled), loss=SoftTargets(hard=1.0, soft=0.01))
        assert _kinds(found) == {Illness.LABELS_DISAGREE}
        assert found[0].action == "left the labels out."
        looked, ill = _run(
            tmp_path / "look", Changed(_shuffled), loss=SoftTargets(hard=1.0, soft=0.01), care=Care.look_only()
        )
        assert looked[0].action is None
        assert score > ill

    def test_an_untrained_teacher(self, tmp_path: Path) -> None:
        loss = SoftTargets(hard=0.0, soft=1.0)
        found, score = _run(tmp_path / "heal", Stripes(), teacher=_untrained(), loss=loss)
        assert _kinds(found) == {Illness.TEACHER_KNOWS_NOTHING}
        assert found[0].action == "left the teacher out."
        _, ill = _run(tmp_path / "look", Stripes(), teacher=_untrained(), loss=loss, care=Care.look_only())
        assert score > ill + 5

    def test_a_batch_with_nan(self, tmp_path: Path) -> None:
        found, score = _run(tmp_path / "heal", Changed(_with_nan))
        assert _kinds(found) == {Illness.NOT_FINITE}
        assert found[0].epoch == 2
        assert "image" in found[0].seen
        assert score > 80
        with pytest.raises(TrainingError):
            _run(tmp_path / "look", Changed(_with_nan), care=Care.look_only())

    def test_a_frozen_student(self, tmp_path: Path) -> None:
        found, _ = _run(tmp_path, Stripes(), student=_frozen())
        assert Illness.FROZEN in _kinds(found)

    def test_an_unlabelled_set_that_is_missing(self, tmp_path: Path) -> None:
        few = Stripes(64)
        found, _ = _run(tmp_path / "few", few)
        assert _kinds(found) == {Illness.TOO_LITTLE_DATA}
        images = torch.cat([batch.inputs["image"] for batch in Stripes(1024).train_batches(0)])
        with_it, _ = _run(tmp_path / "more", TransferSet(Stripes(512), {"image": images}, share=0.5))
        assert with_it == []

    def test_duplicated_data(self, tmp_path: Path) -> None:
        found, _ = _run(tmp_path, Doubled(), recipe=replace(RECIPE, epochs=2))
        assert _kinds(found) == {Illness.DUPLICATES}

    def test_another_normalisation(self, tmp_path: Path) -> None:
        found, _ = _run(tmp_path, Changed(_other_scale), care=Care.look_only(), recipe=replace(RECIPE, epochs=2))
        assert Illness.OTHER_INPUTS in _kinds(found)

    def test_a_loader_that_starves_the_trainer(self, tmp_path: Path) -> None:
        found, _ = _run(tmp_path, Changed(_slow), recipe=replace(RECIPE, epochs=2))
        assert _kinds(found) == {Illness.STARVED}

    def test_a_teacher_that_is_asked_the_same_again(self, tmp_path: Path) -> None:
        task, recipe = Stripes(256), replace(RECIPE, epochs=2)

        class Slow(TorchTeacher):
            def answers(self, task: Task, inputs: Mapping[str, torch.Tensor], *more: object, **named: object):  # type: ignore[no-untyped-def, override]
                time.sleep(0.1)
                return super().answers(task, inputs, *more, **named)  # type: ignore[arg-type]

        teacher = Slow(_teacher())
        train_model(_student(), task, recipe, workdir=tmp_path / "slow", teacher=teacher)
        assert _kinds(_findings(tmp_path / "slow")) == {Illness.SLOW_TEACHER}
        cached = Cached(teacher, tmp_path)
        train_model(_student(), task, recipe, workdir=tmp_path / "cached", teacher=cached)
        assert _findings(tmp_path / "cached") == []


@pytest.mark.parametrize(
    "loss",
    [
        SoftTargets(),
        SoftTargets.classic(),
        SoftTargets(hard=0.0, soft=1.0),
        SoftTargets(temperature=2.0) + 0.5 * Hints(),
        0.3 * HardTargets() + 3 * StandardizedTargets(),
        SoftTargets(hard=0.0, soft=1.0).then(SoftTargets()),
    ],
    ids=lambda loss: repr(loss)[:30],
)
def test_healthy_distillations_hear_nothing(tmp_path: Path, loss: Loss) -> None:
    found, _ = _run(tmp_path, Stripes(), loss=loss)
    assert found == []


@pytest.mark.parametrize("seed", [4, 5, 6, 7])
def test_healthy_trainings_hear_nothing(tmp_path: Path, seed: int) -> None:
    train_model(_student(seed), Stripes(), RECIPE, workdir=tmp_path, seed=seed)
    assert _findings(tmp_path) == []


def test_what_it_finds_reaches_whoever_watches(tmp_path: Path) -> None:
    told: list[str] = []
    train_model(
        _student(),
        Stripes(),
        RECIPE,
        workdir=tmp_path,
        teacher=_teacher(),
        distill=SoftTargets(temperature=100.0),
        progress=lambda event: told.append(event.note) if event.phase == "doctor" else None,
    )
    assert len(told) == 1
    assert told[0].startswith("before training: at temperature 100")


def test_a_healed_training_that_was_killed_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=1.0, warmup_epochs=0.0, epochs=6)
    loss = SoftTargets(temperature=100.0)

    def trained(folder: Path, stop_at: int | None) -> nn.Module:
        def watch(event: object) -> None:
            if (
                stop_at is not None
                and getattr(event, "phase", "") == "distill"
                and getattr(event, "done", 0) == stop_at
            ):
                raise KeyboardInterrupt

        return train_model(
            _student(), Stripes(), recipe, workdir=folder, teacher=_teacher(), distill=loss, progress=watch
        )

    whole = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", 4)
    resumed = trained(tmp_path / "killed", None)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    assert _findings(tmp_path / "killed") == _findings(tmp_path / "whole") != []


def test_damaged_findings_are_told(tmp_path: Path) -> None:
    (tmp_path / "doctor.json").write_text('[{"illness": "unheard of"}]')
    with pytest.raises(InputError, match="no findings"):
        read_findings(tmp_path / "doctor.json")
    with pytest.raises(InputError, match="rollbacks"):
        Care(rollbacks=-1)


def test_the_loss_that_was_asked_for_is_not_changed() -> None:
    from mobiledistill.train._doctor import _cooled, _rewritten

    loss = 2 * SoftTargets(temperature=100.0) + Hints()
    before = copy.deepcopy(loss)
    cooled = _rewritten(loss, lambda one: _cooled(one, 4.0))
    assert loss == before
    assert cooled == 2 * SoftTargets(temperature=4.0) + Hints()


def test_a_loss_of_labels_alone_is_left_alone(tmp_path: Path) -> None:
    found, _ = _run(tmp_path, Changed(_shuffled), loss=HardTargets(), recipe=replace(RECIPE, epochs=1))
    assert [finding.action for finding in found if finding.illness is Illness.LABELS_DISAGREE] == [None]
