"""WAV files of users."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from converters import InputError
from demo_apps.speech._wav import resampled, user_samples


def write(path: Path, data: bytes, *, rate: int = 16_000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def tone(rate: int, hertz: float = 440, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_all_widths_read_as_the_same_sound(tmp_path: Path, width: int) -> None:
    numbers = np.round(tone(16_000) * 2 ** (8 * width - 1)).astype(np.int64)
    if width == 1:
        data = (numbers + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(number).to_bytes(width, "little", signed=True) for number in numbers)

    samples, done = user_samples(write(tmp_path / "a.wav", data, width=width), 16_000)

    np.testing.assert_allclose(samples, tone(16_000), atol=2.0 ** (1 - 8 * width) + 1e-6)
    assert samples.dtype == np.float32
    assert done == ""


def test_stereo_at_44100_is_mixed_down_and_resampled_and_says_so(tmp_path: Path) -> None:
    both = np.stack([1.5 * tone(44_100), 0.5 * tone(44_100)], axis=1)
    data = np.round(both * 32767).astype("<i2").tobytes()

    samples, done = user_samples(write(tmp_path / "a.wav", data, rate=44_100, channels=2), 16_000)

    assert done == "2 channels mixed down, resampled from 44100 Hz"
    assert len(samples) == 8000
    np.testing.assert_allclose(samples[400:-400], tone(16_000)[400:-400], atol=0.01)


def test_what_the_lower_rate_cannot_carry_is_taken_out() -> None:
    assert np.abs(resampled(tone(16_000, hertz=6000).astype(np.float32), 16_000, 8000)).max() < 0.1


def test_an_empty_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, content in (("nothing.wav", b""), ("text.wav", b"hello " * 20)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} (ends within|is not a PCM WAV)") as caught:
            user_samples(tmp_path / name, 16_000)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds no samples"):
        user_samples(write(tmp_path / "header.wav", b""), 16_000)


def test_a_missing_file_an_odd_rate_and_a_long_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*gone\.wav; give a PCM WAV file"):
        user_samples(tmp_path / "gone.wav", 16_000)
    with pytest.raises(InputError, match="at 100 Hz, but may have"):
        user_samples(write(tmp_path / "a.wav", bytes(200), rate=100), 16_000)
    with pytest.raises(InputError, match="is 31 s long"):
        user_samples(write(tmp_path / "b.wav", bytes(31 * 8000), rate=4000), 16_000)
