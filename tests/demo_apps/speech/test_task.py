"""The digits task: batches, scores, and that something can be learned from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from demo_apps.speech import Augmentation, Dataset, DigitsTask, digits_net
from demo_apps.speech._synthetic import synthetic_recordings
from mobiledistill._task import Batch, Task

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def synthetic() -> Dataset:
    return Dataset(synthetic_recordings(), "synthetic speech (no recordings found)", synthetic=True)


@pytest.fixture(scope="module")
def task(synthetic: Dataset) -> DigitsTask:
    return DigitsTask(synthetic, augmentation=Augmentation())


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs["features"], other.inputs["features"]) and torch.equal(
        one.targets["label"], other.targets["label"]
    )


def test_it_is_a_task(task: DigitsTask) -> None:
    assert isinstance(task, Task)
    assert task.source == "synthetic speech (no recordings found)"
    assert task.synthetic


def test_synthetic_speech_is_the_same_every_time(synthetic: Dataset) -> None:
    again = synthetic_recordings()
    assert [recording.name for recording in again] == [recording.name for recording in synthetic.recordings]
    assert all(np.array_equal(one.samples, two.samples) for one, two in zip(synthetic.recordings, again, strict=True))
    assert len({recording.samples.tobytes() for recording in again}) == 600


def test_batches_depend_on_seed_and_epoch_and_nothing_else(synthetic: Dataset, task: DigitsTask) -> None:
    first = list(task.train_batches(3))
    torch.manual_seed(99)
    again = list(DigitsTask(synthetic, augmentation=Augmentation()).train_batches(3))

    assert all(same(one, two) for one, two in zip(first, again, strict=True))
    assert not same(first[0], next(task.train_batches(4)))
    assert not same(first[0], next(DigitsTask(synthetic, seed=1, augmentation=Augmentation()).train_batches(3)))


def test_an_epoch_is_every_training_clip_once_in_even_batches(synthetic: Dataset) -> None:
    plain = DigitsTask(synthetic, batch_size=50)
    batches = list(plain.train_batches(0))
    sizes = [len(batch.targets["label"]) for batch in batches]
    seen = torch.cat([batch.inputs["features"] for batch in batches])

    assert max(sizes) <= 50
    assert max(sizes) - min(sizes) <= 1
    assert batches[0].inputs["features"].dtype == torch.float32
    assert len({clip.numpy().tobytes() for clip in seen}) == len(seen) == sum(sizes)
    assert abs(float(seen.mean())) < 1e-3
    assert abs(float(seen.std()) - 1) < 1e-3


def test_mean_and_deviation_know_nothing_of_validation_and_test(synthetic: Dataset) -> None:
    from demo_apps.speech._data import split_recordings

    train = {recording.name for recording in split_recordings(synthetic.recordings, "speaker").train}
    spoiled = tuple(
        recording
        if recording.name in train
        else type(recording)(recording.samples[:200], recording.label, recording.speaker, recording.index)
        for recording in synthetic.recordings
    )
    one = DigitsTask(synthetic, split="speaker")
    two = DigitsTask(Dataset(spoiled, "spoiled", synthetic=True), split="speaker")

    assert (one.mean, one.deviation) == (two.mean, two.deviation)


def test_augmentation_of_zero_changes_nothing_but_adds_inaudible_noise() -> None:
    still = Augmentation(shift=0, tempo=0, throat=0, colour=0, noise=-2, masked_bands=0, masked_frames=0)
    maps = torch.rand(8, 1, 40, 101) * 9 - 9
    changed = still(maps, -9.0 - 20, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed, maps, atol=1e-4, rtol=0)


def test_augmentation_moves_a_word_in_time() -> None:
    moving = Augmentation(shift=0.2, tempo=0, throat=0, colour=0, noise=-2, masked_bands=0, masked_frames=0)
    maps = torch.full((64, 1, 40, 101), -11.5)
    maps[:, :, :, 50] = 0.0

    changed = moving(maps, -11.5, 0.0, torch.Generator().manual_seed(0))

    places = changed.mean((1, 2)).argmax(1)
    assert places.min() < 45
    assert places.max() > 55
    assert 38 <= places.min() <= places.max() <= 62


def test_the_loss_is_the_cross_entropy_and_trains(task: DigitsTask) -> None:
    batch = Batch({}, {"label": torch.tensor([0, 1])})
    logits = torch.zeros(2, 10, requires_grad=True)
    loss = task.loss({"logits": logits}, batch)
    loss.backward()

    assert float(loss.detach()) == pytest.approx(np.log(10), rel=1e-5)
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_one_who_knows_scores_100_and_one_who_always_says_3_scores_their_share(task: DigitsTask, split: str) -> None:
    truth = {
        clip.tobytes(): label
        for clip, label in zip(task._features[split], task._labels[split], strict=True)  # the only oracle there is
    }

    def knowing(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        return {"logits": np.eye(10, dtype=np.float32)[[truth[clip.tobytes()] for clip in inputs["features"]]]}

    def stubborn(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        return {"logits": np.tile(np.eye(10, dtype=np.float32)[3], (len(inputs["features"]), 1))}

    best = task.evaluate(knowing, split)  # type: ignore[arg-type]  # parametrize gives plain strings
    constant = task.evaluate(stubborn, split)  # type: ignore[arg-type]  # parametrize gives plain strings

    threes = int((task._labels[split] == 3).sum())
    assert best.value == 100
    assert best.n == constant.n == len(truth)
    assert best.ci95[0] < 100 == best.ci95[1]
    assert constant.value == pytest.approx(100 * threes / constant.n)
    assert constant.ci95[0] < constant.value < constant.ci95[1]


def test_the_interval_is_wilsons() -> None:
    from demo_apps.speech._task import _wilson

    low, high = _wilson(297, 300)  # solves (p - share)^2 = z^2 p (1 - p) / n for p
    for p in (low / 100, high / 100):
        assert (p - 0.99) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / 300, rel=1e-6)
    assert _wilson(0, 10)[0] == 0
    assert _wilson(10, 10)[1] == 100


def test_calibration_clips_are_training_clips_of_all_digits(task: DigitsTask) -> None:
    clips = task.calibration_inputs()["features"]
    label_of = {
        clip.tobytes(): label for clip, label in zip(task._features["train"], task._labels["train"], strict=True)
    }

    assert clips.shape == (256, 1, 40, 101)
    assert clips.dtype == np.float32
    assert {int(label_of[clip.tobytes()]) for clip in clips} == set(range(10))


def test_the_network_fits_the_signature_at_any_size(task: DigitsTask) -> None:
    inputs = task.signatures["main"].inputs["features"].shape
    for width, depth in ((32, 1), (3, 2), (5, 0)):
        net = digits_net(width, depth).eval()
        assert task.exported(net, "main") is net
        assert net(torch.zeros(inputs)).shape == task.signatures["main"].outputs["logits"].shape


def test_a_tiny_network_learns_synthetic_digits(synthetic: Dataset) -> None:
    task = DigitsTask(synthetic, batch_size=32)
    net = digits_net(width=8, depth=0)
    optimizer = torch.optim.AdamW(net.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=8 * 14)
    for epoch in range(8):
        for batch in task.train_batches(epoch):
            optimizer.zero_grad()
            task.loss({"logits": net(batch.inputs["features"])}, batch).backward()
            optimizer.step()
            rate.step()
    net.eval()

    def predict(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        with torch.no_grad():
            return {"logits": net(torch.from_numpy(np.asarray(inputs["features"]))).numpy()}

    assert task.evaluate(predict, "test").ci95[0] > 60, "chance is 10 %"


def test_real_recordings_give_the_official_split(fsdd_root: object) -> None:
    from pathlib import Path

    from demo_apps.speech import digits

    task = digits(Path(str(fsdd_root)))
    counts = {name: len(labels) for name, labels in task._labels.items()}

    assert counts["test"] == 300
    assert sum(counts.values()) == 3000
    assert not task.synthetic
