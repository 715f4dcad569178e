"""The front end of the sentences."""

from __future__ import annotations

import numpy as np

from demo_apps.speech.sentences import log_mel


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000).astype(np.float32)


def test_a_second_is_98_whole_windows() -> None:
    maps = log_mel(tone(440))
    assert maps.shape == (64, 1 + (16_000 - 400) // 160)
    assert maps.dtype == np.float32


def test_what_is_heard_later_changes_no_earlier_frame() -> None:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    whole, start = log_mel(samples), log_mel(samples[:8000])
    np.testing.assert_allclose(whole[:, : start.shape[1]], start, rtol=1e-5, atol=1e-5)


def test_a_higher_tone_lies_in_a_higher_band_and_a_louder_one_is_larger() -> None:
    bands = [int(log_mel(tone(hertz)).mean(axis=1).argmax()) for hertz in (200, 800, 3000)]
    assert bands == sorted(set(bands))
    louder = log_mel(tone(800)) - log_mel(0.1 * tone(800))
    np.testing.assert_allclose(louder.max(axis=0), np.log(100), atol=0.1)


def test_less_than_a_window_is_one_frame_and_silence_is_the_floor() -> None:
    assert log_mel(np.zeros(10, np.float32)).shape == (64, 1)
    np.testing.assert_allclose(log_mel(np.zeros(800, np.float32)), np.log(2e-4), rtol=1e-5)
