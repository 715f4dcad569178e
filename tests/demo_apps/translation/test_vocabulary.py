"""Pieces of words: there and back, and what has no token."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo_apps.translation._phrases import made_up_pairs
from demo_apps.translation._vocabulary import BEGIN, END, PAD, UNKNOWN, Vocabulary
from mobiledistill import InputError

LINES = [target for _, target in made_up_pairs()]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.learn(LINES, 200)


def test_text_survives_the_way_there_and_back(vocabulary: Vocabulary) -> None:
    assert [vocabulary.decode(tokens) for tokens in vocabulary.encode_all(LINES)] == LINES
    assert vocabulary.encode_all(LINES[:1]) == [vocabulary.encode(LINES[0])]
    assert len(vocabulary) <= 200


def test_special_tokens_are_no_text(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode(LINES[0])
    assert min(tokens) > END
    assert vocabulary.decode([BEGIN, *tokens, END, PAD, UNKNOWN]) == LINES[0]


def test_the_same_lines_give_the_same_vocabulary(vocabulary: Vocabulary) -> None:
    assert Vocabulary.learn([*LINES, *LINES[:50]], 200).model == vocabulary.model


def test_unknown_characters_are_named_once_and_in_order(vocabulary: Vocabulary) -> None:
    assert vocabulary.unknown_in("Ich 漢 sehe ж 漢") == ["漢", "ж"]
    assert vocabulary.unknown_in(LINES[0]) == []


def test_a_damaged_or_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source.model").write_bytes(b"not a vocabulary")
    with pytest.raises(InputError, match="damaged"):
        Vocabulary.read(tmp_path / "source.model")
    with pytest.raises(InputError, match="cannot be read"):
        Vocabulary.read(tmp_path / "missing.model")
