"""Trying an exported translator on a text of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from demo_apps.translation._decode import greedy
from demo_apps.translation._vocabulary import Vocabulary
from mobiledistill import Answer, InputError, Predict, TryOut

__all__ = ["answer", "try_out"]


def answer(predict: Predict, assets: Path, text: str) -> Answer:
    """Translates one text.

    Args:
        predict: the file.
        assets: the folder of the vocabularies that belong to it.
        text: English, a sentence or two.

    Raises:
        InputError: the text is empty, longer than the file takes, or has characters that no training text had; or
            the assets are missing or damaged.
    """
    text = " ".join(text.split())
    if not text:
        raise InputError("The text is empty; give an English sentence, such as --text 'Where is my book?'.")
    source, target = Vocabulary.read(assets / "source.model"), Vocabulary.read(assets / "target.model")
    unknown = source.unknown_in(text)
    if unknown:
        raise InputError(f"No training text had the characters {' '.join(unknown)}; leave them out or spell them.")
    tokens, longest = source.encode(text), _longest_source(assets / "limits.json")
    if len(tokens) > longest:
        raise InputError(
            f"The text has {len(tokens)} tokens, but this file reads at most {longest} (about {longest * 3 // 4}"
            " words); give it a sentence at a time."
        )
    return Answer(target.decode(greedy(predict, [tokens])[0]))


try_out = TryOut(
    option="text",
    help="An English sentence; the last run's file translates it.",
    answer=answer,
    page=Path(__file__).parent / "page",
)


def _longest_source(file: Path) -> int:
    try:
        return int(json.loads(file.read_text())["longest_source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is missing or damaged ({error}); run the demo again.") from error
