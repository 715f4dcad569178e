"""Trying an exported digits file on a WAV file, with nothing but the file and the assets beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from converters import InputError
from demo_apps.speech._features import SAMPLE_RATE, log_mel
from demo_apps.speech._wav import user_samples
from mobiledistill import Answer, Predict, TryOut

__all__ = ["TRY_OUT", "answer"]


def answer(predict: Predict, assets: Path, given: str) -> Answer:
    """Which digit is said in a WAV file, and how sure the network is.

    Args:
        predict: an exported file, or whatever else listens.
        assets: the folder of ``DigitsTask.assets``.
        given: path of a PCM WAV file; other rates are resampled, several channels mixed down. The middle second counts.

    Raises:
        InputError: the WAV file is missing, empty or damaged, or so are the assets.
    """
    samples, done = user_samples(Path(given), SAMPLE_RATE)
    if not np.abs(samples).max() > 0:
        raise InputError(f"{given} is silent throughout: give a recording of speech.")
    try:
        numbers = json.loads((assets / "features.json").read_text())
        mean, deviation = float(numbers["mean"]), float(numbers["deviation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The assets in {assets} cannot be read ({error}): run the demo again.") from None
    features = ((log_mel([samples]) - mean) / deviation).astype(np.float32)
    logits = predict({"features": features}, "main")["logits"][0].astype(np.float64)
    likely = np.exp(logits - np.logaddexp.reduce(logits))
    best = int(likely.argmax())
    text = f"{best} ({100 * likely[best]:.0f} % sure)" + (f"\n({done})" if done else "")
    return Answer(text, None, len(samples) / SAMPLE_RATE)


TRY_OUT = TryOut("wav", "a PCM WAV file of one spoken digit", answer, Path(__file__).parent / "page")
