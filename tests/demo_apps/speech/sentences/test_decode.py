"""Greedy decoding and the dictionary beam, the latter against all paths counted one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from demo_apps.speech.sentences import Bigram, DictionaryBeam, Tokens, greedy

TOKENS = Tokens(("<blank>", "SIX", "OH", "O", "-TY"))
DICTIONARY = ("SIX", "SIXTY", "OH", "O")


def peaks(*tokens: int) -> np.ndarray:
    """Logits in which each frame is nearly sure of one token."""
    return np.eye(len(TOKENS), dtype=np.float32)[list(tokens)] * 12


def test_greedy_takes_out_repetitions_and_blanks() -> None:
    assert greedy(peaks(0, 1, 1, 0, 1, 4, 4, 0)) == [1, 1, 4]
    assert greedy(peaks(0, 0)) == []


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for before, token in zip((0, *path), path, strict=False) if token not in (before, 0))


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_what_counting_all_paths_finds(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (5, len(TOKENS))).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    words_of = {tuple(TOKENS.encode(words)): words for n in range(6) for words in product(DICTIONARY, repeat=n)}
    sums: dict[tuple[str, ...], float] = {}
    for path in product(range(len(TOKENS)), repeat=5):
        words = words_of.get(collapsed(path))
        if words is not None:
            sums[words] = sums.get(words, 0.0) + float(np.exp(sum(logs[i, token] for i, token in enumerate(path))))

    beam = DictionaryBeam(TOKENS, DICTIONARY, width=500, tokens_per_frame=9)

    assert tuple(beam(logits)) == max(sums, key=sums.__getitem__)


def test_only_words_of_the_dictionary_come_out() -> None:
    logits = peaks(0, 2, 4, 0)  # OH -TY is no word
    assert TOKENS.decode(greedy(logits)) == ["OHTY"]
    assert DictionaryBeam(TOKENS, DICTIONARY)(logits) in (["OH"], ["SIXTY"])


def test_word_pairs_decide_between_words_that_sound_alike() -> None:
    logits = peaks(1, 0, 2, 0)
    logits[2, [2, 3]] = [12.0, 11.5]
    heard = [("SIX", "O")] * 20 + [("OH",)]
    without = DictionaryBeam(TOKENS, DICTIONARY)(logits)
    with_pairs = DictionaryBeam(TOKENS, DICTIONARY, Bigram.of(heard, DICTIONARY), language_weight=1.0)(logits)
    assert (without, with_pairs) == (["SIX", "OH"], ["SIX", "O"])


def test_silence_is_no_words() -> None:
    assert DictionaryBeam(TOKENS, DICTIONARY)(peaks(0, 0, 0)) == []
    assert DictionaryBeam(TOKENS, DICTIONARY)(np.zeros((0, len(TOKENS)), np.float32)) == []
