"""Trying a sentences file on a WAV file."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from converters import InputError
from demo_apps.speech.sentences import SentencesTask, answer

Arrays = dict[str, np.ndarray]


class Saying:
    """Says SIX TWO in the first chunk, and nothing later."""

    def __init__(self, task: SentencesTask) -> None:
        self.task, self.chunks = task, 0

    def __call__(self, inputs: Mapping[str, np.ndarray], signature: str = "main") -> Arrays:
        signatures = self.task.signatures["main"]
        logits = np.zeros(signatures.outputs["logits"].shape, np.float32)
        logits[..., 0] = 9
        if self.chunks == 0:
            for frame, token in zip((1, 4), self.task.tokens.encode(["SIX", "TWO"]), strict=True):
                logits[0, frame, token] = 20
        self.chunks += 1
        return {"logits": logits, **{written: inputs[read] for written, read in signatures.state}}


@pytest.fixture
def assets(tmp_path: Path, task: SentencesTask) -> Path:
    for name, content in task.assets().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def spoken(path: Path, rate: int = 16_000, channels: int = 1, loudness: int = 9000, seconds: float = 1.0) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        tone = loudness * np.sin(np.arange(int(channels * rate * seconds)) / 9)
        file.writeframes(tone.astype("<i2").tobytes())
    return str(path)


def test_the_answer_is_the_words_and_the_duration(assets: Path, task: SentencesTask) -> None:
    saying = Saying(task)
    told = answer(saying, assets, spoken(assets / "a.wav"))
    assert told.text == "SIX TWO\ntoken by token: SIX TWO"
    assert told.seconds_of_input == pytest.approx(1)
    assert saying.chunks == 4  # 98 frames and the wait of 104, in chunks of 64


def test_stereo_at_44100_is_resampled_and_says_so(assets: Path, task: SentencesTask) -> None:
    told = answer(Saying(task), assets, spoken(assets / "a.wav", rate=44_100, channels=2))
    assert told.text.endswith("(2 channels mixed down, resampled from 44100 Hz)")
    assert told.seconds_of_input == pytest.approx(1, abs=1e-3)


def test_empty_and_silent_files_and_broken_assets_are_refused_in_one_line(assets: Path, task: SentencesTask) -> None:
    (assets / "none.wav").write_bytes(b"")
    silent, empty = spoken(assets / "silent.wav", loudness=0), spoken(assets / "empty.wav", seconds=0)
    good = spoken(assets / "good.wav")
    for given, message in (
        (str(assets / "none.wav"), "ends within its header"),
        (silent, "is silent throughout"),
        (empty, "holds no samples"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            answer(Saying(task), assets, given)
        assert "\n" not in str(caught.value)
    (assets / "tokens.json").write_text("{")
    with pytest.raises(InputError, match=r"assets in .* cannot be read"):
        answer(Saying(task), assets, good)
