"""Pieces of words in C are those of sentencepiece itself, for any text."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mobiledistill.devices
from demo_apps.translation._vocabulary import END, Vocabulary
from tests.devices.phone._fixtures import needs

NATIVE = Path(mobiledistill.devices.__file__).parent / "assets" / "native"
WORDS = (
    *("der", "die", "das", "Straße", "Bücher", "wo", "ist", "mein", "Buch", "where", "is", "my", "book", "house"),
    *("houses", "housing", "ﬁve", "5", "½", "don't", "naïve", "ooo"),  # of equal pairs the first is merged
)
LINES = [" ".join(WORDS[(seed * step) % len(WORDS)] for step in range(1, 9)) for seed in range(1, 200)]
LIKELY = st.text(st.sampled_from("abdehiknorsuwßüéi̇½ﬁ①　\u00a0\u200b\u0301 \t.,'−Ω가\U0001f600\x00"), max_size=40)
KINDS = {"sizes of a real one": 400, "little more than letters": 60}


class Pieces:
    def __init__(self, library: ctypes.CDLL, model: bytes) -> None:
        self._library = library
        self._made = ctypes.c_void_p(library.md_pieces_new(model, ctypes.c_size_t(len(model))))
        assert self._made

    def __len__(self) -> int:
        return int(self._library.md_pieces_count(self._made))

    def encode(self, text: str, most: int = 2000) -> list[int]:
        found = np.zeros(most + 1, np.int32)
        data = text.encode()
        place = ctypes.c_void_p(found.ctypes.data)
        count = self._library.md_pieces_encode(
            self._made, data, ctypes.c_size_t(len(data)), place, ctypes.c_size_t(most)
        )
        assert count >= 0
        assert found[most] == 0
        return [int(token) for token in found[: min(count, most)]]

    def decode(self, tokens: list[int], room: int = 4000) -> str:
        given = np.array(tokens, np.int32)
        text = ctypes.create_string_buffer(b"\x01" * room, room + 1)
        length = self._library.md_pieces_decode(
            self._made, ctypes.c_void_p(given.ctypes.data), ctypes.c_size_t(len(given)), text, ctypes.c_size_t(room)
        )
        assert len(text.value) == min(length, room - 1)
        return text.value.decode(errors="ignore")

    def close(self) -> None:
        self._library.md_pieces_free(self._made)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    needs("gcc")
    made = tmp_path_factory.mktemp("native") / "libmdpieces.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, NATIVE / "mdpieces.c", "-o", made], check=True)
    opened = ctypes.CDLL(str(made))
    opened.md_pieces_new.restype = ctypes.c_void_p
    opened.md_pieces_count.restype = opened.md_pieces_decode.restype = ctypes.c_size_t
    opened.md_pieces_encode.restype = ctypes.c_long
    return opened


@pytest.fixture(scope="module", params=KINDS.values(), ids=list(KINDS))
def both(request: pytest.FixtureRequest, library: ctypes.CDLL) -> Iterator[tuple[Pieces, Vocabulary]]:
    learned = Vocabulary.learn(LINES, request.param)
    pieces = Pieces(library, learned.model)
    yield pieces, learned
    pieces.close()


def test_a_vocabulary_is_read_whole(both: tuple[Pieces, Vocabulary]) -> None:
    pieces, learned = both
    assert len(pieces) == len(learned)


@settings(max_examples=400, deadline=None)
@given(st.one_of(LIKELY, st.text(max_size=40), st.sampled_from(LINES)))
@example("")
@example("   ")
@example("  wo  ist　das ﬁve½  ")
@example("▁ ▁▁ a")
@example("ooo ooooo oooooo zooo")
def test_the_same_tokens_and_the_same_text(both: tuple[Pieces, Vocabulary], text: str) -> None:
    pieces, learned = both
    tokens = pieces.encode(text)
    assert tokens == learned.encode(text)
    assert pieces.decode(tokens) == learned.decode(tokens)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_tokens_become_the_same_text(both: tuple[Pieces, Vocabulary], data: st.DataObject) -> None:
    pieces, learned = both
    tokens = data.draw(st.lists(st.integers(0, len(learned) - 1), max_size=30))
    assert pieces.decode(tokens) == learned.decode(tokens)
    assert pieces.decode([-1, 10**6, END, *tokens]) == learned.decode(tokens)


def test_what_does_not_fit_is_cut_off(both: tuple[Pieces, Vocabulary]) -> None:
    pieces, learned = both
    whole = learned.encode(LINES[0])
    assert pieces.encode(LINES[0], most=3) == whole[:3]
    assert pieces.decode(whole, room=6) == learned.decode(whole)[:5]


def test_another_file_is_refused(library: ctypes.CDLL, both: tuple[Pieces, Vocabulary]) -> None:
    model = both[1].model
    for wrong in (b"", b"no vocabulary at all", model[: len(model) // 2], model[:-1], unigrams()):
        assert not library.md_pieces_new(wrong, ctypes.c_size_t(len(wrong)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_breaks_nothing(
    library: ctypes.CDLL, both: tuple[Pieces, Vocabulary], data: st.DataObject
) -> None:
    """Whatever a damaged vocabulary says, tokens are its own, and nothing is written beside what was given for it."""
    model = bytearray(both[1].model)
    for _ in range(data.draw(st.integers(1, 20))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    made = ctypes.c_void_p(library.md_pieces_new(bytes(model), ctypes.c_size_t(len(model))))
    if not made:
        return
    most, room = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 60))
    found, text = np.full(100, -7, np.int32), ctypes.create_string_buffer(b"\x01" * 100)
    place, line = ctypes.c_void_p(found.ctypes.data), LINES[0].encode()
    count = library.md_pieces_encode(made, line, ctypes.c_size_t(len(line)), place, ctypes.c_size_t(most))
    told = found[: min(count, most)]
    assert count >= 0
    assert ((told >= 0) & (told < library.md_pieces_count(made))).all()
    assert (found[len(told) :] == -7).all()
    length = library.md_pieces_decode(made, place, ctypes.c_size_t(len(told)), text, ctypes.c_size_t(room))
    assert text.raw[min(length, room - 1)] == 0
    assert set(text.raw[room:100]) == {1}
    library.md_pieces_free(made)


def unigrams() -> bytes:
    import io

    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=written, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    return written.getvalue()
