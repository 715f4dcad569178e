"""Curves for TensorBoard, read back by TensorBoard itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mobiledistill as md
from tests.networks import Residual, Stripes

RECIPE = md.Recipe(epochs=3, learning_rate=5e-3)


def _curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Label to steps and values of one run."""
    found = EventAccumulator(str(run))
    found.Reload()
    return {label: [(one.step, one.value) for one in found.Scalars(label)] for label in found.Tags()["scalars"]}


def _train(curves: Path, workdir: Path, also: md.Progress | None = None) -> None:
    torch.manual_seed(0)
    md.train_model(Residual(), Stripes(), RECIPE, workdir=workdir, progress=md.TensorBoard(curves, also))


def test_losses_and_scores_of_every_epoch_are_there(tmp_path: Path) -> None:
    heard: list[md.Event] = []
    _train(tmp_path / "curves", tmp_path / "work", heard.append)
    (run,) = (tmp_path / "curves").iterdir()
    assert run.name.startswith("teacher-")
    curves = _curves(run)
    assert set(curves) == {"loss", "accuracy"}
    for label, curve in curves.items():
        assert [step for step, _ in curve] == [1, 2, 3]
        assert [value for _, value in curve] == pytest.approx([event.numbers[label] for event in heard])


def test_a_training_that_was_killed_goes_on_in_its_run(tmp_path: Path) -> None:
    def kill(event: md.Event) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "curves", tmp_path / "work", kill)
    _train(tmp_path / "curves", tmp_path / "work")
    (run,) = (tmp_path / "curves").iterdir()
    assert [step for step, _ in _curves(run)["loss"]] == [1, 2, 3]


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(md.MissingExtraError, match=r"tensorboardX is not installed.*mobiledistill\[tensorboard\]"):
        md.TensorBoard(tmp_path / "curves")
    assert not (tmp_path / "curves").exists()
