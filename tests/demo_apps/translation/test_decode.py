"""Greedy and beam search on a predict whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demo_apps.translation._decode import CACHE_SHAPE, CACHES, MEMORY, MEMORY_SHAPE, beam_search, greedy, padded
from demo_apps.translation._translator import LONGEST_SOURCE, LONGEST_TARGET
from demo_apps.translation._vocabulary import BEGIN, END

A, B, C, D = 4, 5, 6, 7
TOKENS = 8
Following = Mapping[tuple[int, ...], Mapping[int, float]]


class Scripted:
    """Knows the probabilities of what follows each beginning; what was written so far lies in its caches."""

    def __init__(self, following: Mapping[int, Following]) -> None:
        self.following = following
        self.asked: list[int] = []

    def __call__(self, inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        n = len(inputs["source"])
        if signature == "encode":
            assert inputs["source"].dtype == np.int32
            return {name: np.zeros((n, *MEMORY_SHAPE), np.float32) for name in MEMORY}
        assert signature == "step"
        self.asked.append(n)
        cache = inputs[CACHES[0]].copy()
        logits = np.full((n, TOKENS), -30.0, np.float32)
        for row in range(n):
            position = inputs["position"][row, 0]
            cache[row, position, 0] = inputs["token"][row, 0]
            written = tuple(int(token) for token in cache[row, 1 : position + 1, 0])
            for token, share in self.following[int(inputs["source"][row, 0])].get(written, {END: 1.0}).items():
                logits[row, token] = math.log(share)
        caches = {f"next_{name}": np.zeros((n, *CACHE_SHAPE), np.float32) for name in CACHES}
        return {"logits": logits, **caches, f"next_{CACHES[0]}": cache}


PLAIN: Following = {(): {A: 0.9, END: 0.1}, (A,): {B: 0.9, END: 0.1}, (A, B): {END: 1.0}}
GARDEN_PATH: Following = {
    (): {A: 0.6, B: 0.4},
    (A,): {C: 0.34, D: 0.33, A: 0.33},
    (B,): {C: 0.98, END: 0.02},
}
ENDLESS: Following = {(A,) * n: {A: 1.0} for n in range(LONGEST_TARGET + 1)}
SILENT: Following = {(): {END: 1.0}}


def test_greedy_follows_the_likeliest_and_keeps_each_text_apart() -> None:
    predict = Scripted({10: PLAIN, 11: SILENT, 12: GARDEN_PATH})
    assert greedy(predict, [[10], [11, 1], [12]]) == [[A, B], [], [A, C]]
    assert predict.asked == [3, 2, 2], "a text that has ended is not asked again"


def test_beam_search_is_not_led_up_the_garden_path() -> None:
    predict = Scripted({10: PLAIN, 11: SILENT, 12: GARDEN_PATH})
    assert beam_search(predict, [[10], [11, 1], [12]], beams=3) == [[A, B], [], [B, C]]


def test_one_beam_is_greedy() -> None:
    predict = Scripted({10: PLAIN, 11: SILENT, 12: GARDEN_PATH})
    sources: list[list[int]] = [[10], [11], [12], [10, 1]]
    assert beam_search(predict, sources, beams=1) == greedy(predict, sources)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_translation_that_never_ends_is_cut_off(beams: int) -> None:
    predict = Scripted({10: ENDLESS})
    assert greedy(predict, [[10]]) == beam_search(predict, [[10]], beams=beams) == [[A] * LONGEST_TARGET]


def test_length_is_made_up_for() -> None:
    short_or_long: Following = {(): {END: 0.36, A: 0.64}, (A,): {B: 0.8, END: 0.2}, (A, B): {C: 0.8, END: 0.2}}
    predict = Scripted({10: short_or_long})
    assert beam_search(predict, [[10]], beams=2, length_power=0.0) == [[A, B, C]]  # 0.41 against 0.36
    less: Following = {**short_or_long, (A, B): {C: 0.6, END: 0.4}}  # 0.31 against 0.36
    assert beam_search(Scripted({10: less}), [[10]], beams=2, length_power=0.0) == [[]]
    assert beam_search(Scripted({10: less}), [[10]], beams=2, length_power=1.0) == [[A, B, C]]


def test_order_of_the_texts_does_not_matter() -> None:
    sources: Sequence[list[int]] = [[12, 1, 1], [10], [11, 1]] * 120
    assert greedy(Scripted({10: PLAIN, 11: SILENT, 12: GARDEN_PATH}), sources) == [[A, C], [A, B], []] * 120


def test_files_get_full_length_and_modules_may_get_less() -> None:
    seen: list[int] = []

    def predict(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        seen.append(inputs["source"].shape[1])
        return Scripted({10: PLAIN})(inputs, signature)

    greedy(predict, [[10, 1]])
    assert set(seen) == {LONGEST_SOURCE}
    seen.clear()
    greedy(predict, [[10, 1]], trimmed=True)
    assert set(seen) == {2}


def test_padding_cuts_what_is_too_long() -> None:
    assert padded([[5], [6, 7, 8, 9]], 3).tolist() == [[5, 0, 0], [6, 7, 8]]
    assert padded([[BEGIN]], 2).dtype == np.int32
