"""Changed copies of training utterances."""

from __future__ import annotations

import torch
from torch import Tensor

from demo_apps.speech.sentences import Augmentation

FLOOR = -8.5
STILL = {"tempo": 0.0, "throat": 0.0, "level": 0.0, "colour": 0.0, "band_masks": 0, "frame_masks": 0.0}


def maps(frames: int = 200) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return FLOOR + 8 * torch.rand(64, frames, generator=random)


def changed(augmentation: Augmentation, seed: int = 1) -> Tensor:
    return augmentation(maps(), FLOOR, torch.zeros(64, 1), torch.Generator().manual_seed(seed))


def test_chance_comes_from_the_generator_alone() -> None:
    torch.manual_seed(5)
    first = changed(Augmentation())
    torch.manual_seed(6)
    assert torch.equal(first, changed(Augmentation()))
    other = changed(Augmentation(), seed=2)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_nothing_but_quiet_noise_leaves_loud_places_as_they_are() -> None:
    still = changed(Augmentation(**STILL, noise=-1.0))
    loud = maps() > FLOOR + 5
    assert still.shape == (64, 200)
    assert float((still - maps())[loud].abs().max()) < 0.5


def test_tempo_changes_the_length_within_its_limits() -> None:
    lengths = {changed(Augmentation(tempo=0.15), seed).shape[1] for seed in range(30)}
    assert len(lengths) > 10
    assert min(lengths) >= 170
    assert max(lengths) <= 230


def test_masks_leave_the_blank_behind() -> None:
    masked = changed(Augmentation(**{**STILL, "band_masks": 2, "frame_masks": 1.0}), seed=3)
    assert 0 < int((masked == 0).sum()) < masked.numel() // 2


def test_one_frame_survives() -> None:
    copy = Augmentation()(maps(1), FLOOR, torch.zeros(64, 1), torch.Generator().manual_seed(0))
    assert copy.shape == (64, 1)
    assert bool(torch.isfinite(copy).all())
