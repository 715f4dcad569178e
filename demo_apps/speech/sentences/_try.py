"""Trying an exported file on a WAV file, with nothing but the file and the assets beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from converters import InputError
from demo_apps.speech._wav import user_samples
from demo_apps.speech.sentences._decode import DictionaryBeam, greedy
from demo_apps.speech.sentences._features import SAMPLE_RATE
from demo_apps.speech.sentences._language import Bigram
from demo_apps.speech.sentences._listen import Listener
from demo_apps.speech.sentences._tokens import Tokens
from mobiledistill import Answer, Predict, TryOut

__all__ = ["TRY_OUT", "answer"]


def answer(predict: Predict, assets: Path, given: str) -> Answer:
    """What is said in a WAV file: first token by token, then with the dictionary.

    Args:
        predict: an exported file, or whatever else listens.
        assets: the folder of ``SentencesTask.assets``.
        given: path of a PCM WAV file; other rates are resampled, several channels mixed down.

    Raises:
        InputError: the WAV file is missing, empty or damaged, or so are the assets.
    """
    samples, done = user_samples(Path(given), SAMPLE_RATE)
    if not np.abs(samples).max() > 0:
        raise InputError(f"{given} is silent throughout: give a recording of speech.")
    try:
        listener = Listener.from_json((assets / "listener.json").read_text())
        tokens = Tokens(tuple(json.loads((assets / "tokens.json").read_text())))
        dictionary = (assets / "dictionary.txt").read_text().split()
        bigram = Bigram(json.loads((assets / "bigram.json").read_text()), tuple(dictionary))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The assets in {assets} cannot be read ({error}): run the demo again.") from None
    (logits,) = listener.logits(predict, [listener.features(samples)])
    plain = tokens.decode(greedy(logits))
    likely = DictionaryBeam(tokens, dictionary, bigram)(logits)
    lines = [" ".join(likely) or "(nothing understood)", f"token by token: {' '.join(plain) or '(nothing)'}"]
    return Answer("\n".join([*lines, *([f"({done})"] if done else [])]), None, len(samples) / SAMPLE_RATE)


TRY_OUT = TryOut(
    "wav",
    "a PCM WAV file of up to 30 s with spelled letters, numbers and commands",
    answer,
    Path(__file__).parents[1] / "page",
)
