"""Trying a digits file on a WAV file."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from converters import InputError
from demo_apps.speech import Dataset, DigitsTask, demo
from demo_apps.speech._synthetic import synthetic_recordings
from demo_apps.speech._try import answer


def predict(inputs: Mapping[str, np.ndarray], signature: str = "main") -> dict[str, np.ndarray]:
    assert inputs["features"].shape == (1, 1, 40, 101)
    return {"logits": np.log(np.array([[1, 1, 1, 90, 1, 1, 1, 1, 1, 2]], np.float32))}


@pytest.fixture(scope="module")
def task() -> DigitsTask:
    return DigitsTask(Dataset(synthetic_recordings(), "synthetic", synthetic=True))


@pytest.fixture
def assets(tmp_path: Path, task: DigitsTask) -> Path:
    for name, content in task.assets().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def spoken(path: Path, loudness: int = 9000) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 22_050, 0, "NONE", ""))
        file.writeframes((loudness * np.sin(np.arange(2 * 11_025))).astype("<i2").tobytes())
    return str(path)


def test_the_answer_names_the_digit_what_was_done_and_the_duration(assets: Path) -> None:
    told = answer(predict, assets, spoken(assets / "a.wav"))
    assert told.text == "3 (90 % sure)\n(2 channels mixed down, resampled from 22050 Hz)"
    assert told.seconds_of_input == pytest.approx(0.5)


def test_assets_hold_the_front_ends_numbers(assets: Path, task: DigitsTask) -> None:
    assert json.loads((assets / "features.json").read_text()) == {"mean": task.mean, "deviation": task.deviation}


def test_silence_and_broken_assets_are_refused(assets: Path) -> None:
    with pytest.raises(InputError, match="is silent throughout"):
        answer(predict, assets, spoken(assets / "b.wav", loudness=0))
    (assets / "features.json").write_text("{}")
    with pytest.raises(InputError, match=r"assets in .* cannot be read"):
        answer(predict, assets, spoken(assets / "c.wav"))


def test_both_tasks_of_the_demo_take_a_wav() -> None:
    assert {name: task.try_out and task.try_out.option for name, task in demo.tasks.items()} == {
        "digits": "wav",
        "sentences": "wav",
    }
