"""Transfer sets made from the teacher alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobiledistill import InputError, Recipe, train_model
from mobiledistill.distill import imagined
from tests.networks import Residual, Stripes

TASK = Stripes()


class NoData(Stripes):
    """The task without its training images: whoever asks for one fails."""

    def train_batches(self, epoch: int):  # type: ignore[no-untyped-def]
        raise AssertionError("nobody may ask for real batches")

    def calibration_inputs(self, signature: str = "main"):  # type: ignore[no-untyped-def]
        raise AssertionError("nor for these")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    return train_model(Residual(12), TASK, Recipe(epochs=12, learning_rate=1e-2), workdir=folder)


def _images(teacher: nn.Module, workdir: Path | None = None, seed: int = 0, steps: int = 200) -> torch.Tensor:
    found = imagined(teacher, NoData(), low=-3.0, high=3.0, steps=steps, count=512, seed=seed, workdir=workdir)
    return torch.from_numpy(found.calibration_inputs()["image"])


def test_the_teacher_knows_what_it_sees_and_sees_all_it_knows(teacher: nn.Module) -> None:
    images = _images(teacher)
    assert images.shape == (256, 1, 16, 16)
    assert -3 <= float(images.min()) < float(images.max()) <= 3
    blots = _images(teacher, steps=1)
    with torch.no_grad():
        sure, unsure = (torch.softmax(teacher(seen), 1).amax(1).mean() for seen in (images, blots))
        seen_classes = torch.bincount(teacher(images).argmax(1), minlength=4)
    assert sure > unsure
    assert int(seen_classes.min()) > 256 // 4 // 8


def test_the_same_call_gives_the_same_set_and_keeps_it(teacher: nn.Module, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first = _images(teacher, tmp_path, steps=5)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's chance is touched
    (kept,) = tmp_path.glob("imagined-*.safetensors")
    written = kept.stat().st_mtime_ns
    assert torch.equal(_images(teacher, tmp_path, steps=5), first)
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:50])
    assert torch.equal(_images(teacher, tmp_path, steps=5), first)  # a damaged one is made anew
    assert kept.stat().st_size > 1000
    assert not torch.equal(_images(teacher, steps=5, seed=1), first)


def test_images_are_sought_on_which_the_student_disagrees(teacher: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = _images(teacher, steps=4)
    monkeypatch.setattr("mobiledistill.distill._data_free._apart", lambda student, _: 0 * student.sum())
    assert not torch.equal(_images(teacher, steps=4), with_it)


def test_the_teacher_is_not_changed(teacher: nn.Module) -> None:
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    _images(teacher, steps=3)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(value.grad is None or not value.grad.any() for value in teacher.parameters())


@pytest.mark.parametrize("wrong", [{"low": 1.0, "high": 1.0}, {"steps": 0}, {"count": 3}])
def test_arguments_out_of_range_are_refused(teacher: nn.Module, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="low < high"):
        imagined(teacher, TASK, **{"low": 0.0, "high": 1.0, **wrong})  # type: ignore[arg-type]
