"""Words to tokens and back."""

from __future__ import annotations

import pytest

from demo_apps.speech.sentences import Tokens

HEARD = [("SIX", "M"), ("SIXTY",), ("SEVEN",), ("A",)] * 8 + [("MAY", "SEVENTEENTH")]


@pytest.fixture
def tokens() -> Tokens:
    return Tokens.of(HEARD)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("SIX", ["SIX"]),
        ("SIXTY", ["SIX", "-TY"]),
        ("SEVENTEENTH", ["SEVEN", "-TEEN", "-TH"]),
        ("M", ["M"]),
        ("MAY", ["_", "-M", "-A", "-Y"]),
        ("O'CLOCK", ["_", "-O", "-'", "-C", "-L", "-O", "-C", "-K"]),
    ],
)
def test_common_stems_are_whole_and_the_rest_is_spelled(tokens: Tokens, word: str, names: list[str]) -> None:
    assert [tokens.names[token] for token in tokens.of_word(word)] == names


def test_decoding_undoes_encoding(tokens: Tokens) -> None:
    for words in (["A", "M", "SIX"], ["SIXTY", "SIX"], ["MAY", "SEVENTEENTH", "A"], []):
        assert tokens.decode(tokens.encode(words)) == words


def test_what_no_word_begins_with_is_decoded_all_the_same(tokens: Tokens) -> None:
    number = {name: place for place, name in enumerate(tokens.names)}
    assert tokens.decode([number["-TY"], number["_"], number["A"]]) == ["TY", "A"]


def test_a_word_heard_seven_times_is_not_common() -> None:
    assert "GO" not in Tokens.of([("GO",)] * 7).names
    assert "GO" in Tokens.of([("GO",)] * 8).names
