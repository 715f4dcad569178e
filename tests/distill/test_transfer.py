"""Transfer sets: what takes the place of labelled batches, and what stays the task's own."""

from __future__ import annotations

import pytest
import torch

from mobiledistill import InputError
from mobiledistill._workdir import data_fingerprint
from mobiledistill.distill import TransferSet
from tests.distill._steps import noise
from tests.networks import Stripes

TASK = Stripes()


def test_all_batches_are_the_sets_own_and_nobody_knows_the_answers() -> None:
    images = noise(130, 1, 16, 16)
    task = TransferSet(TASK, {"image": images}, batch_size=20)
    batches = list(task.train_batches(0))
    assert len(batches) == len(list(TASK.train_batches(0)))
    assert not any(batch.labelled for batch in batches)
    seen = torch.cat([batch.inputs["image"] for batch in batches[:6]])
    assert all(bool((images == image).flatten(1).all(1).any()) for image in seen)
    assert len(torch.unique(seen.flatten(1), dim=0)) == 120  # none twice before all have come


def test_a_share_takes_turns_with_the_tasks_own_batches() -> None:
    task = TransferSet(TASK, {"image": noise(64, 1, 16, 16)}, share=0.25)
    labelled = [batch.labelled for batch in task.train_batches(0)]
    assert labelled == [True, True, True, False] * 2
    own = list(TASK.train_batches(0))
    assert torch.equal(next(iter(task.train_batches(0))).inputs["image"], own[0].inputs["image"])


def test_the_same_epoch_gives_the_same_batches() -> None:
    task = TransferSet(TASK, {"image": noise(64, 1, 16, 16)}, batch_size=16)
    first, again, other = (next(iter(task.train_batches(epoch))).inputs["image"] for epoch in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scores_are_the_tasks_own_and_calibration_needs_no_real_data() -> None:
    images = noise(64, 1, 16, 16)
    task = TransferSet(TASK, {"image": images})
    assert (
        task.evaluate(
            lambda inputs, signature="main": {"logits": inputs["image"].mean((1, 2, 3))[:, None].repeat(4, 1)}, "test"
        ).n
        == 256
    )
    assert torch.equal(torch.from_numpy(task.calibration_inputs()["image"]), images)
    assert data_fingerprint(task) != data_fingerprint(TASK)
    twice = TransferSet(TransferSet(TASK, {"image": images + 1}, share=0.5), {"image": images}, share=0.5)
    other = TransferSet(TransferSet(TASK, {"image": images + 2}, share=0.5), {"image": images}, share=0.5)
    assert data_fingerprint(twice) != data_fingerprint(other)
    part = TransferSet(TASK, {"image": images}, share=0.5)
    assert data_fingerprint(part) not in (data_fingerprint(TASK), data_fingerprint(task))


@pytest.mark.parametrize(
    ("images", "share", "match"),
    [
        (noise(0, 1, 16, 16), 1.0, "16 or more"),
        (noise(64, 16, 16), 1.0, "one sample of it"),
        (noise(64, 1, 16, 16), 0.0, "share"),
        (noise(64, 1, 16, 16), 1.5, "share"),
    ],
)
def test_sets_that_cannot_teach_are_refused(images: torch.Tensor, share: float, match: str) -> None:
    with pytest.raises(InputError, match=match):
        TransferSet(TASK, {"image": images}, share=share)
    with pytest.raises(InputError, match="reads image"):
        TransferSet(TASK, {"picture": noise(64, 1, 16, 16)})
