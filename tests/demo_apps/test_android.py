"""The demos of the Android app: its core, on this computer's Java, answers as the demos do in Python, on real data.

Python computes the networks on both sides; so what stands around them is compared, to the letter.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import nn

from converters import InputError, Program, convert, load
from demo_apps.detection import CellsTask, Dataset, Detector
from demo_apps.detection._boxes import Floats
from demo_apps.detection._drawn import CLASSES, drawn_images
from demo_apps.detection._image import fit_image
from demo_apps.detection._task import detect
from demo_apps.detection._try_out import answer_image
from demo_apps.speech import DigitsTask, digits_net, load_recordings
from demo_apps.speech._try import answer as answer_digit
from demo_apps.speech.sentences import Corpus, SentencesTask, Utterance, greedy, load_corpus, log_mel, sentences_net
from demo_apps.translation import END, TranslationTask, load_pairs, predictor, translator
from demo_apps.translation import Corpus as Pairs
from demo_apps.translation import try_out as translate
from mobiledistill import Equipped, Predict, Task

GOLDEN = Path(__file__).parent / "detection" / "golden" / "keep_best.json"
MAIN = "mobiledistill.demos.DemosKt"

Arrays = Mapping[str, NDArray[Any]]

pytestmark = pytest.mark.long  # Kotlin's compiler takes its time


@dataclass
class App:
    """A demo in the app's core; ``asked`` are the inputs that its networks were given.

    Attributes:
        predict: what answers for its networks.
        task: what the networks' inputs must look like.
    """

    folder: Path
    predict: Predict
    task: Task
    lines: IO[str]
    answers: IO[str]
    asked: list[Arrays] = field(default_factory=list)

    def __call__(self, line: object, given: NDArray[Any] | None = None) -> Any:
        """What it says to a line; what it refuses is an ``InputError``."""
        if given is not None:
            save_file({"given": given}, self.folder / "given.safetensors")
        self._write(str(line))
        while True:
            kind, _, rest = self.answers.readline().rstrip("\n").partition(" ")
            if kind == "network":
                self._answer(rest)
            elif kind == "refused":
                raise InputError(json.loads(rest))
            else:
                assert kind == "said", "the app's core died"
                return json.loads(rest)

    def _answer(self, signature: str) -> None:
        given, due = load_file(self.folder / "asked.safetensors"), self.task.signatures[signature].inputs
        assert {name: (one.shape, str(one.dtype)) for name, one in given.items()} == {
            name: (spec.shape, spec.dtype) for name, spec in due.items()
        }
        self.asked.append(given)
        answered = {name: np.ascontiguousarray(value) for name, value in self.predict(given, signature).items()}
        save_file(answered, self.folder / "answered.safetensors")
        self._write("")

    def _write(self, line: str) -> None:
        self.lines.write(f"{line}\n")
        self.lines.flush()


Started = Callable[..., Any]


@pytest.fixture
def started(app_core: list[str], tmp_path: Path) -> Started:
    """Starts a demo of the core with the assets of a task."""

    @contextmanager
    def start(demo: str, task: Task, predict: Predict, assets: Mapping[str, bytes] | None = None) -> Iterator[App]:
        folder = tmp_path / demo
        (folder / "assets").mkdir(parents=True)
        (folder / "student.tflite").touch()
        assert isinstance(task, Equipped)
        for name, content in (task.assets() if assets is None else assets).items():
            (folder / "assets" / name).write_bytes(content)
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([*app_core, MAIN, demo, folder], encoding="utf-8", **pipe) as process:  # type: ignore[call-overload]  # of two constants
            yield App(folder, predict, task, process.stdin, process.stdout)

    return start


def test_digits_are_heard_as_in_python(started: Started, fsdd_root: Path) -> None:
    task = DigitsTask(load_recordings(fsdd_root))
    features = np.asarray(task.calibration_inputs()["features"], np.float32).reshape(256, -1)
    likely = np.random.default_rng(0).standard_normal((features.shape[1], 10)).astype(np.float32)  # some network

    def predict(inputs: Arrays, signature: str = "main") -> dict[str, NDArray[Any]]:
        return {"logits": inputs["features"].reshape(len(inputs["features"]), -1) @ likely / np.float32(20)}

    files = sorted((fsdd_root / "recordings").glob("*.wav"))[::150]
    samples = {recording.name: recording.samples for recording in load_recordings(fsdd_root).recordings}
    heard = set()
    with started("speech", task, predict) as app:
        for file in files:
            *before, said = app(800, samples[file.stem])
            assert set(before) == {""}
            due = answer_digit(predict, app.folder / "assets", str(file)).text
            assert said.split(" (")[0] == due.split(" (")[0]
            assert abs(_percent(said) - _percent(due)) <= 1
            heard.add(said.split()[0])
        assert app(800, np.zeros(4000, np.float32))[-1] == "Nothing was heard."
    assert len(heard) > 3
    due = task._normal(np.concatenate([_log_mel(samples[file.stem]) for file in files]))
    np.testing.assert_allclose(np.concatenate([one["features"] for one in app.asked]), due, atol=2e-4)


def _percent(said: str) -> int:
    return int(said.partition("(")[2].partition(" %")[0])


def _log_mel(samples: Floats) -> Floats:
    from demo_apps.speech import log_mel as maps

    return maps([samples])


@pytest.fixture(scope="module")
def spoken(data_root: Path) -> SentencesTask:
    whole = load_corpus(data_root / "an4")
    return SentencesTask(
        Corpus(whole.train[:60], whole.validation[:2], whole.test[:3], whole.dictionary, whole.source, synthetic=False),
        width=16,
    )


@pytest.mark.parametrize("part", [777, 16_000])
def test_sentences_are_heard_as_in_python_while_they_are_said(
    started: Started, spoken: SentencesTask, data_root: Path, part: int
) -> None:
    net = predictor(spoken, sentences_net(len(spoken.tokens), 16, 16).eval())
    likely = np.random.default_rng(0).standard_normal((64, len(spoken.tokens))).astype(np.float32)

    def predict(inputs: Arrays, signature: str = "main") -> dict[str, NDArray[Any]]:
        """As the network, which has learned nothing, but one that does not always say the same."""
        answered = net(inputs, signature)
        loud = inputs["features"].reshape(-1, 64, 8, 8).mean(3).transpose(0, 2, 1) @ likely
        silent = ~inputs["features"].reshape(-1, 64, 8, 8).any((1, 3))
        loud[:, np.arange(8), 1 + np.arange(8)] += 9 * silent  # and something where there is nothing to be heard
        return {**answered, "logits": answered["logits"] + loud}

    said: list[Utterance] = [*load_corpus(data_root / "an4").test[:3]]
    sounds = [one.samples for one in said] + [said[0].samples[:300], np.zeros(0, np.float32)]
    words = set()
    with started("speech", spoken, predict) as app:
        for samples in sounds:
            app.asked.clear()
            *before, whole = app(part, samples)
            features = spoken.listener.features(samples)
            (logits,) = spoken.listener.logits(predict, [features])
            assert whole == " ".join(spoken.tokens.decode(greedy(logits)))
            assert all(whole.startswith(text) for text in before)
            heard = np.concatenate([one["features"][0, 0] for one in app.asked], axis=1)
            np.testing.assert_allclose(heard[:, : features.shape[1]], features, atol=2e-4)
            assert not heard[:, features.shape[1] :].any()
            words |= set(whole.split())
    assert len(words) > 3
    assert log_mel(sounds[0]).shape[1] > 64


@pytest.fixture(scope="module")
def cells() -> CellsTask:
    parts = drawn_images()
    return CellsTask(
        Dataset(CLASSES, parts["train"][:48], parts["val"][:1], parts["test"][:1], "drawn", synthetic=True)
    )


def _redness(inputs: Arrays, signature: str = "main") -> dict[str, NDArray[Any]]:
    """A detector that finds some: it is the surer the redder the picture is around a cell."""
    image = np.asarray(inputs["image"], np.float32)
    corners = np.random.default_rng(0).integers(0, 200, (1500, 2))
    boxes = np.concatenate([corners, corners + 30], axis=1).astype(np.float32)
    red = image[:, :, corners[:, 1], corners[:, 0]].transpose(0, 2, 1)
    return {"boxes": np.repeat(boxes[None], len(image), 0), "scores": (12 * (red - 0.7)).astype(np.float32)}


def test_the_golden_boxes_stay(app_core: list[str]) -> None:
    ran = subprocess.run([*app_core, MAIN, "golden", GOLDEN], check=True, capture_output=True, text=True)
    assert ran.stdout == "said []\n"
    assert len(json.loads(GOLDEN.read_text())["cases"]) > 5


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1000, 333), (197, 301), (3, 2), (480, 641)])
def test_objects_are_found_as_in_python(
    started: Started, tmp_path: Path, size: tuple[int, int], data_root: Path, cells: CellsTask
) -> None:
    photograph = sorted((data_root / "bccd").rglob("*.jpg"))[3]
    image = Image.open(photograph).convert("RGB").resize(size)
    image.save(tmp_path / "picture.png")
    rows = np.zeros((size[1], 4 * size[0] + 20), np.uint8)  # a camera's rows are longer than the picture
    rows[:, : 4 * size[0]] = np.asarray(image.convert("RGBA")).reshape(size[1], -1)
    with started("detection", cells, _redness) as app:
        text = app(size[0], rows)
        found = load_file(app.folder / "found.safetensors")["boxes"]
    pixels, scale = fit_image(image)
    (asked,) = app.asked
    assert np.array_equal(asked["image"][0], pixels.astype(np.float32) / np.float32(255))
    (due,) = detect(_redness, [pixels], least_score=0.4)
    np.testing.assert_allclose(found, due.boxes / np.float32(scale), rtol=1e-6)
    assert text == answer_image(_redness, app.folder / "assets", str(tmp_path / "picture.png")).text
    assert size == (3, 2) or len(found) > 3


@pytest.fixture(scope="module")
def tatoeba(data_root: Path) -> TranslationTask:
    whole = load_pairs(data_root)
    return TranslationTask(Pairs(whole.pairs[::40], whole.source, synthetic=False), vocabulary_size=700, held_out=60)


def _writer(task: TranslationTask) -> Predict:
    """A translator that has learned nothing, whose words depend on all that it is given."""
    random = np.random.default_rng(0)
    tokens = len(task.target_vocabulary)
    words, heads = random.standard_normal((tokens, 128)), random.standard_normal((tokens, 128))

    def predict(inputs: Arrays, signature: str = "main") -> dict[str, NDArray[Any]]:
        outputs = task.signatures[signature].outputs
        if signature == "encode":
            seen = np.cos(inputs["source"][:, :, None] * np.arange(1, 129))
            return {name: (seen + len(name)).astype(np.float32) for name in outputs}
        now = np.tanh(inputs["keys_0"].sum(1) + inputs["values_1"].max(1) + words[inputs["token"][:, 0]])
        memory = sum(inputs[name] for name in inputs if name.startswith("memory"))
        now += np.sin(memory.sum(1)) + np.cos(inputs["source"].sum() * np.arange(128))
        logits = now @ heads.T
        logits[:, END] += 1000 * (inputs["position"][:, 0] == 3 + inputs["source"].sum(1) % 9)  # once, and not later
        states = {f"next_{name}": inputs[name].copy() for name in inputs if f"next_{name}" in outputs}
        for state in states.values():
            state[:, inputs["position"][0, 0]] = np.sin(now)
        return {"logits": logits.astype(np.float32), **states}

    return predict


def test_texts_are_translated_as_in_python(started: Started, tatoeba: TranslationTask) -> None:
    predict = _writer(tatoeba)
    texts = [sentence.source for sentence in tatoeba.held_out["test"][::6]]
    answers = set()
    with started("translation", tatoeba, predict) as app:
        for text in [*texts, "  Where\u00a0is \t my book? "]:
            due = translate.answer(predict, app.folder / "assets", text).text
            assert app(json.dumps(text)) == due
            answers.add(due)
        for text in ("", " \t", "Where is 我的 書?", "I see the house. " * 20):
            with pytest.raises(InputError) as due_refusal:
                translate.answer(predict, app.folder / "assets", text)
            with pytest.raises(InputError) as refusal:
                app(json.dumps(text))
            assert str(due_refusal.value).startswith(str(refusal.value).rstrip("."))
    assert len(answers) > 5
    assert len({len(answer) for answer in answers}) > 2  # some end by themselves


def test_text_becomes_the_same_pieces(started: Started, tatoeba: TranslationTask) -> None:
    # Ligatures, wide letters, circles, fractions, blanks of all kinds, accents apart, letters of no language here.
    written = "\ufb01ne  \u2460\uff12 \uff21\uff22 \tÄpfel Ångström\u200b x\u00ad y ½ … \u2581 „Quote“ 日本 日本"
    written += " \U0001f600! É e\u0301 \x07 \u3000end sss nnnnn eee llllll ttt"  # ties, where the first pair wins
    for name, vocabulary in (("source", tatoeba.source_vocabulary), ("target", tatoeba.target_vocabulary)):
        texts = [pair.target if name == "target" else pair.source for pair in tatoeba.train[::9]]
        with started(name, tatoeba, _redness, {name: vocabulary.model}) as app:
            for text in [*texts, written, *written.split(" "), *written]:
                assert app(json.dumps(text)) == [vocabulary.encode(text), vocabulary.decode(vocabulary.encode(text))]


def test_what_is_missing_or_damaged_is_said(started: Started, tatoeba: TranslationTask) -> None:
    whole = tatoeba.assets()
    old = json.dumps({"longest_source": 32, "longest_target": 40, "begin": 2, "end": 3}).encode()
    for number, (assets, message) in enumerate(
        [
            ({}, "has no assets/source.model: copy the artifacts"),
            ({**whole, "source.model": b"damaged"}, "vocabulary is damaged"),
            ({**whole, "limits.json": old}, "limits.json lacks memory"),
        ]
    ):
        with started("translation", tatoeba, _redness, assets) as app, pytest.raises(InputError, match=message):
            app('"Hello."')
        app.folder.rename(app.folder.with_name(str(number)))


def test_an_exported_file_hears_digits_as_in_python(started: Started, tmp_path: Path, fsdd_root: Path) -> None:
    task = DigitsTask(load_recordings(fsdd_root))
    predict = _exported(task, digits_net(), tmp_path / "student.tflite")
    file = fsdd_root / "recordings" / "7_theo_0.wav"
    (samples,) = (one.samples for one in load_recordings(fsdd_root).recordings if one.name == file.stem)
    with started("speech", task, predict) as app:
        due = answer_digit(predict, app.folder / "assets", str(file)).text
        assert app(800, samples)[-1].split(" (")[0] == due.split(" (")[0]


def test_an_exported_file_hears_sentences_as_in_python(
    started: Started, tmp_path: Path, spoken: SentencesTask, data_root: Path
) -> None:
    predict = _exported(spoken, sentences_net(len(spoken.tokens), 16, 16), tmp_path / "student.tflite")
    samples = load_corpus(data_root / "an4").test[0].samples
    with started("speech", spoken, predict) as app:
        (logits,) = spoken.listener.logits(predict, [spoken.listener.features(samples)])
        assert app(1000, samples)[-1] == " ".join(spoken.tokens.decode(greedy(logits)))


def test_an_exported_file_finds_objects_as_in_python(started: Started, tmp_path: Path, cells: CellsTask) -> None:
    net = Detector(3, width=4)
    for head in net.heads:
        # surer of some than of others; torch types a part of a module as a tensor or a module
        nn.init.normal_(head.scores.answer.weight)  # type: ignore[union-attr,arg-type]
    predict = _exported(cells, net, tmp_path / "student.tflite")
    picture = cells.images("test")[0].pixels.transpose(1, 2, 0)
    rgba = np.concatenate([picture, picture[:, :, :1]], axis=2).reshape(240, 1280)
    facts = json.loads(cells.assets()["detection.json"]) | {"least_score": 0.01}  # it has learned nothing
    with started("detection", cells, predict, {"detection.json": json.dumps(facts).encode()}) as app:
        app(320, np.ascontiguousarray(rgba))
        found = load_file(app.folder / "found.safetensors")["boxes"]
    (due,) = detect(predict, [np.ascontiguousarray(picture.transpose(2, 0, 1))])
    np.testing.assert_allclose(found, due.boxes, rtol=1e-6)
    assert len(found) > 10


def test_an_exported_file_translates_as_in_python(started: Started, tmp_path: Path, tatoeba: TranslationTask) -> None:
    sizes = {"source_tokens": len(tatoeba.source_vocabulary), "target_tokens": len(tatoeba.target_vocabulary)}
    predict = _exported(tatoeba, translator(32, 1, **sizes), tmp_path / "student.tflite")
    with started("translation", tatoeba, predict) as app:
        due = translate.answer(predict, app.folder / "assets", "Where is my book?").text
        assert app('"Where is my book?"') == due != ""


def _exported(task: Task, model: nn.Module, path: Path) -> Predict:
    """The very file that a run writes, but of a network that has learned nothing."""
    programs = [
        Program(
            task.exported(model, name).eval(),
            {key: torch.from_numpy(value[:1]) for key, value in task.calibration_inputs(name).items()},
            tuple(signature.outputs),
            name,
        )
        for name, signature in task.signatures.items()
        if signature.exported
    ]
    return load(convert(programs, path)).run
