"""The translation task: batches, scores, what its files are called with, and that something can be learned from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

import mobiledistill as md
from demo_apps.translation import (
    BEGIN,
    END,
    PAD,
    Corpus,
    Pair,
    TranslationTask,
    Translator,
    bleu,
    predictor,
    transfer,
    translator,
    try_out,
)
from demo_apps.translation._phrases import made_up_pairs
from demo_apps.translation._translator import LONGEST_SOURCE, LONGEST_TARGET


@pytest.fixture(scope="module")
def task() -> TranslationTask:
    pairs = tuple(Pair(*pair) for pair in made_up_pairs())
    return TranslationTask(Corpus(pairs, "made up", synthetic=True), vocabulary_size=160)


def net_for(task: TranslationTask, width: int = 32, depth: int = 1) -> Translator:
    torch.manual_seed(0)
    read, written = len(task.source_vocabulary), len(task.target_vocabulary)
    return translator(width, depth, source_tokens=read, target_tokens=written)


def test_it_is_a_task_with_a_vocabulary_for_its_files(task: TranslationTask) -> None:
    assert isinstance(task, md.Task)
    assert isinstance(task, md.Equipped)
    assert json.loads(task.assets()["limits.json"])["longest_source"] == LONGEST_SOURCE


def test_a_batch_reads_the_target_one_place_late(task: TranslationTask) -> None:
    batch = next(task.train_batches(0))
    target, following = batch.inputs["target"], batch.targets["next"]

    assert batch.signature == "whole"
    assert (target[:, 0] == BEGIN).all()
    for row, expected in zip(target, following, strict=True):
        text = expected[expected != PAD]
        assert text[-1] == END
        assert row[1 : len(text)].tolist() == text[:-1].tolist()
    assert torch.equal(batch.targets["written"], (following != PAD).float())


def test_four_epochs_are_every_pair_once_and_the_next_four_are_in_another_order(task: TranslationTask) -> None:
    def seen(epochs: range) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        batches = [batch for epoch in epochs for batch in task.train_batches(epoch)]
        return [
            (tuple(s[s != PAD].tolist()), tuple(t[t != PAD].tolist()))
            for batch in batches
            for s, t in zip(batch.inputs["source"], batch.inputs["target"], strict=True)
        ]

    first = seen(range(4))
    assert len(first) == len(set(first)) == len(task.train)
    assert seen(range(4)) == first
    later = seen(range(4, 8))
    assert later != first
    assert sorted(later) == sorted(first)


def test_batches_have_little_padding(task: TranslationTask) -> None:
    written = torch.cat([batch.targets["written"].flatten() for batch in task.train_batches(0)])
    assert written.mean() > 0.9
    assert all(batch.targets["next"].numel() <= 900 for batch in task.train_batches(0))


def test_the_loss_is_smoothed_cross_entropy_over_what_was_written(task: TranslationTask) -> None:
    batch = next(task.train_batches(0))
    shape = (*batch.targets["next"].shape, len(task.target_vocabulary))
    even = task.loss({"logits": torch.zeros(shape)}, batch)
    assert float(even) == pytest.approx(math.log(shape[-1]), rel=1e-5)

    right = 8 * functional.one_hot(batch.targets["next"], shape[-1]).float()
    known = float(task.loss({"logits": right}, batch))
    spoiled = torch.where(batch.targets["next"][..., None] == PAD, 99 * torch.rand(shape), right)
    assert float(task.loss({"logits": spoiled}, batch)) == pytest.approx(known), "padding does not count"
    assert known < float(even)


def test_one_who_knows_scores_100_and_one_who_is_silent_0(task: TranslationTask) -> None:
    known = {
        tuple(task.source_vocabulary.encode(sentence.source)): [
            *task.target_vocabulary.encode(sentence.references[0]),
            END,
        ]
        for split in ("validation", "test")
        for sentence in task.held_out[split]
    }

    def knowing(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        empty = _empty(task, signature, len(inputs["source"]))
        if signature == "step":
            for row, (source, position) in enumerate(zip(inputs["source"], inputs["position"][:, 0], strict=True)):
                empty["logits"][row, known[tuple(source[source != PAD].tolist())][position]] = 1
        return empty

    def silent(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        empty = _empty(task, signature, len(inputs["source"]))
        if signature == "step":
            empty["logits"][:, END] = 1
        return empty

    best = task.evaluate(knowing, "test")
    assert best.value == pytest.approx(100)
    assert best.n == len(task.held_out["test"])
    assert task.evaluate(silent, "validation").value == 0
    with pytest.raises(md.InputError, match="'validation' or 'test'"):
        task.evaluate(silent, "train")


def _empty(task: TranslationTask, signature: str, n: int) -> dict[str, NDArray[Any]]:
    outputs = task.signatures[signature].outputs
    return {name: np.zeros((n, *output.shape[1:]), np.float32) for name, output in outputs.items()}


def test_calibration_inputs_fit_the_signatures(task: TranslationTask) -> None:
    for name, signature in task.signatures.items():
        arrays = task.calibration_inputs(name)
        assert list(arrays) == list(signature.inputs)
        for key, spec in signature.inputs.items():
            assert arrays[key].shape == (128, *spec.shape[1:])
            assert arrays[key].dtype == spec.dtype
    step = task.calibration_inputs("step")
    unwritten = np.arange(LONGEST_TARGET) >= step["position"]
    assert not step["keys_0"][unwritten].any(), "what was not written yet is empty"
    assert step["token"].min() > PAD, "a step follows a token or the beginning"


def test_a_models_own_states_replace_the_noise(task: TranslationTask) -> None:
    net = net_for(task)
    predict = predictor(task, net)
    step = task.with_states(predict).calibration_inputs("step")
    memory = predict({"source": step["source"]}, "encode")
    np.testing.assert_array_equal(step["memory_values_1"], memory["memory_values_1"])

    unwritten = np.arange(LONGEST_TARGET) >= step["position"]
    assert not step["keys_0"][unwritten].any()
    assert step["keys_0"][~unwritten].any(-1).all()

    target = task.calibration_inputs("whole")["target"]
    whole = predict({"source": step["source"], "target": target}, "whole")["logits"]
    asked = np.take_along_axis(whole, step["position"].astype(np.int64)[:, :, None], 1)[:, 0]
    np.testing.assert_allclose(predict(step, "step")["logits"], asked, atol=1e-4)
    assert not np.array_equal(task.calibration_inputs("step")["keys_0"], step["keys_0"]), "the task itself is as it was"


def test_another_module_is_refused(task: TranslationTask) -> None:
    with pytest.raises(md.InputError, match="needs a Translator"):
        task.exported(torch.nn.Linear(1, 1), "encode")


@pytest.fixture(scope="module")
def learned(task: TranslationTask, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    recipe = md.Recipe(epochs=12, learning_rate=5e-3, warmup_epochs=0.5)
    net = net_for(task)
    md.train_model(net, task, recipe, workdir=tmp_path_factory.mktemp("teacher"))
    return net


def test_a_tiny_network_learns_made_up_sentences(task: TranslationTask, learned: Translator) -> None:
    assert task.evaluate(predictor(task, learned), "test").ci95[0] > 60


def test_students_learn_from_what_the_teacher_says(task: TranslationTask, learned: Translator, tmp_path: Path) -> None:
    taught = transfer(task, learned, tmp_path)
    sources = [pair.source for pair in task.train]
    changed = {pair.source: pair.target for pair in taught.train}
    share = sum(source in changed for source in sources[::1])

    assert share == len(sources), "every text is still there"
    assert sorted(pair.source for pair in taught.train) == sorted(sources)
    assert taught.held_out is task.held_out
    said = dict(zip(sources, task.translate(predictor(task, learned), sources), strict=True))
    people = {pair.source: pair.target for pair in task.train}
    differing = [source for source in sources if changed[source] != people[source]]
    agreeing = sum(changed[source] == said[source] for source in differing)
    assert agreeing >= 0.7 * len(differing), "beams find something else at times"

    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.json")}
    again = transfer(task, learned, tmp_path)
    assert again.train == taught.train
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.json")} == files, "translated once"


def test_a_text_can_be_tried(task: TranslationTask, learned: Translator, tmp_path: Path) -> None:
    for name, content in task.assets().items():
        (tmp_path / name).write_bytes(content)
    sentences = task.held_out["test"]
    answers = [try_out.answer(predictor(task, learned), tmp_path, f" {s.source} ").text for s in sentences[:40]]
    counts = task.counts(predictor(task, learned), "test")
    assert sum(a in s.references for a, s in zip(answers, sentences, strict=False)) > 20
    assert bleu(counts) == task.evaluate(predictor(task, learned), "test").value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("  \n", "The text is empty"),
        ("I see the dog 漢", "had the characters 漢"),
        ("I see the dog. " * 20, "at most 32"),
    ],
)
def test_a_text_that_cannot_be_translated_is_refused_in_one_line(
    task: TranslationTask, tmp_path: Path, text: str, complaint: str
) -> None:
    for name, content in task.assets().items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(md.InputError, match=complaint) as refused:
        try_out.answer(predictor(task, net_for(task)), tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_file_without_its_vocabulary_is_refused(task: TranslationTask, tmp_path: Path) -> None:
    with pytest.raises(md.InputError, match="cannot be read"):
        try_out.answer(predictor(task, net_for(task)), tmp_path, "I see the dog.")


@pytest.mark.slow
def test_an_8_bit_file_translates_as_its_module_does(
    task: TranslationTask, learned: Translator, tmp_path: Path
) -> None:
    task = task.with_states(predictor(task, learned))
    inputs = {
        name: {key: torch.from_numpy(value) for key, value in task.calibration_inputs(name).items()}
        for name in task.signatures
    }
    prepared = md.quantize.prepare({name: task.exported(learned, name) for name in task.signatures})
    md.quantize.calibrate(prepared, inputs, 99.99)
    frozen = md.quantize.freeze(prepared)
    programs = [
        md.Program(
            frozen[name], {key: value[:1] for key, value in inputs[name].items()}, tuple(signature.outputs), name
        )
        for name, signature in task.signatures.items()
        if signature.exported
    ]
    file = md.load(md.convert(programs, tmp_path / "student.onnx"))

    def from_module(arrays: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        with torch.no_grad():
            answers = frozen[signature](*(torch.from_numpy(value) for value in arrays.values()))
        names = task.signatures[signature].outputs
        return {name: value.numpy() for name, value in zip(names, answers, strict=True)}

    texts = [sentence.source for sentence in task.held_out["test"][:40]]
    answers = task.translate(lambda arrays, signature="main": file.run(arrays, signature), texts)
    assert answers == task.translate(from_module, texts)
    assert sum(answer in s.references for answer, s in zip(answers, task.held_out["test"], strict=False)) > 15
