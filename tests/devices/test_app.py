"""What stands around a model in C gives what the demos give in Python, on real recordings and the golden boxes."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mobiledistill.devices
from demo_apps.detection._boxes import keep_best
from demo_apps.speech import load_recordings, log_mel
from demo_apps.speech.sentences._decode import greedy
from demo_apps.speech.sentences._features import log_mel as sentence_mel
from tests.devices.phone._fixtures import needs

NATIVE = Path(mobiledistill.devices.__file__).parent / "assets" / "native"
GOLDEN = Path(__file__).parents[1] / "demo_apps" / "detection" / "golden" / "keep_best.json"
Floats = NDArray[np.float32]


class Detection(ctypes.Structure):
    _fields_ = (("box", ctypes.c_float * 4), ("score", ctypes.c_float), ("label", ctypes.c_int))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    needs("gcc")
    library = tmp_path_factory.mktemp("native") / "libmdapp.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, NATIVE / "mdapp.c", "-o", library, "-lm"], check=True)
    opened = ctypes.CDLL(str(library))
    opened.md_mel_new.restype = ctypes.c_void_p
    opened.md_keep_best.restype = ctypes.c_long
    opened.md_ctc_greedy.restype = ctypes.c_size_t
    return opened


def pointer(values: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


def made(app: ctypes.CDLL, name: str) -> ctypes.c_void_p:
    spec = ctypes.c_char.in_dll(app, name)
    return ctypes.c_void_p(app.md_mel_new(ctypes.byref(spec)))


@pytest.mark.parametrize("length", [None, 0, 1, 999, 8000, 8001, 20000])
def test_words_become_the_same_maps(app: ctypes.CDLL, fsdd_root: Path, length: int | None) -> None:
    clip = load_recordings(fsdd_root.parent).recordings[7].samples.astype(np.float32)
    if length is not None:
        clip = np.resize(clip, length).astype(np.float32)
    mel = made(app, "MD_DIGITS")
    found = np.empty((40, 101), np.float32)
    assert app.md_digits_map(mel, pointer(clip), ctypes.c_size_t(len(clip)), pointer(found)) == 1
    np.testing.assert_allclose(found, log_mel([clip])[0, 0], atol=2e-4)
    app.md_mel_free(mel)


def test_sentences_become_the_same_frames(app: ctypes.CDLL) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(4000)).astype(np.float32)
    due = sentence_mel(samples)
    mel = made(app, "MD_SENTENCES")
    for frame in range(due.shape[1]):
        found = np.empty(64, np.float32)
        app.md_sentences_frame(mel, pointer(np.ascontiguousarray(samples[160 * frame :])), pointer(found))
        np.testing.assert_allclose(found, due[:, frame], atol=2e-4)
    app.md_mel_free(mel)


def kept(app: ctypes.CDLL, boxes: Floats, scores: Floats, **options: float) -> list[tuple[list[float], float, int]]:
    most = int(options.get("most", 100))
    found = (Detection * most)()
    count = app.md_keep_best(
        pointer(boxes),
        pointer(scores),
        ctypes.c_size_t(len(boxes)),
        ctypes.c_size_t(scores.shape[1]),
        ctypes.c_float(options.get("least_score", 0.01)),
        ctypes.c_float(options.get("most_overlap", 0.6)),
        ctypes.c_size_t(most),
        found,
    )
    return [(list(one.box), one.score, one.label) for one in found[:count]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_the_same_boxes_stay(app: ctypes.CDLL, cells: int, classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    corners = draw.integers(0, 12, (cells, 2))
    boxes = np.concatenate([corners, corners + draw.integers(-1, 8, (cells, 2))], 1).astype(np.float32)
    scores = (draw.integers(0, 9, (cells, classes)) / 8).astype(np.float32)  # many are equally sure
    due = keep_best(boxes, scores, most=10, most_overlap=0.4)
    found = kept(app, boxes, scores, most=10, most_overlap=0.4)
    assert [label for _, _, label in found] == due.labels.tolist()
    np.testing.assert_array_equal(np.array([box for box, _, _ in found]).reshape(-1, 4), due.boxes)
    np.testing.assert_array_equal(np.array([score for _, score, _ in found]), due.scores)


def test_the_golden_boxes_stay(app: ctypes.CDLL) -> None:
    for case in json.loads(GOLDEN.read_text())["cases"]:
        boxes = np.array(case["boxes"], np.float32).reshape(-1, 4)
        scores = np.array(case["probabilities"], np.float32).reshape(len(boxes), -1)
        options = {name: case[name] for name in ("least_score", "most_overlap", "most") if name in case}
        found = kept(app, boxes, scores, **options)
        due = case["kept"]
        assert [box for box, _, _ in found] == due["boxes"], case["name"]
        assert [score for _, score, _ in found] == due["scores"], case["name"]
        assert [label for _, _, label in found] == due["labels"], case["name"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 6), st.integers(0, 2**31))
def test_the_same_tokens_are_read(app: ctypes.CDLL, frames: int, tokens: int, seed: int) -> None:
    logits = np.random.default_rng(seed).integers(0, 3, (frames, tokens)).astype(np.float32)
    found = np.empty(frames + 1, np.int32)
    count = app.md_ctc_greedy(pointer(logits), ctypes.c_size_t(frames), ctypes.c_size_t(tokens), pointer(found))
    assert found[:count].tolist() == greedy(logits)
