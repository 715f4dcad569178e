"""The sentences task: batches, scores through a stream, and that something can be learned from it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from demo_apps.speech import demo
from demo_apps.speech.sentences import Augmentation, Corpus, SentencesNet, SentencesTask, sentences_net
from demo_apps.speech.sentences._demo import SENTENCES
from demo_apps.speech.sentences._net import DELAY_FRAMES
from mobiledistill import Batch, DemoRequest, Equipped, Head, InputError, Predict, Task

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def net(task: SentencesTask) -> SentencesNet:
    torch.manual_seed(0)
    net = sentences_net(len(task.tokens), task.width)
    batch = next(task.train_batches(0))
    task.exported(net, "lesson")(*batch.inputs.values())  # norms that have seen something
    return net.eval()


def asking(net: SentencesNet, task: SentencesTask) -> Predict:
    def predict(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        with torch.no_grad():
            outputs = net(*(torch.from_numpy(inputs[name]) for name in task.signatures[signature].inputs))
        return {n: value.numpy() for n, value in zip(task.signatures[signature].outputs, outputs, strict=True)}

    return predict


def one_by_one(predict: Predict, task: SentencesTask) -> Predict:
    """As an exported file answers: batch 1, one shape, nothing else."""

    def alone(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        specs = task.signatures[signature].inputs
        rows = []
        for row in range(len(inputs["features"])):
            sample = {name: value[row : row + 1] for name, value in inputs.items()}
            assert {name: value.shape for name, value in sample.items()} == {n: s.shape for n, s in specs.items()}
            rows.append(predict(sample, signature))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return alone


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs["features"], other.inputs["features"]) and torch.equal(
        one.targets["tokens"], other.targets["tokens"]
    )


def test_it_is_a_task_with_assets(task: SentencesTask) -> None:
    assert isinstance(task, Task)
    assert isinstance(task, Equipped)
    assert task.synthetic
    signature = task.signatures["main"]
    assert [output.head for output in signature.outputs.values()].count(Head.CTC) == 1
    assert signature.outputs["logits"].mask == "frames"
    assert signature.calls_per_use == pytest.approx((270 + DELAY_FRAMES) / 64)


def test_batches_depend_on_seed_and_epoch_and_nothing_else(corpus: Corpus, task: SentencesTask) -> None:
    first = list(task.train_batches(3))
    torch.manual_seed(99)
    assert all(same(one, two) for one, two in zip(first, task.train_batches(3), strict=True))
    assert not same(first[0], next(iter(task.train_batches(4))))
    other = SentencesTask(corpus, width=task.width, seed=1, augmentation=Augmentation())
    assert not same(first[0], next(iter(other.train_batches(3))))


def test_an_epoch_is_every_utterance_once_with_room_for_its_tokens(corpus: Corpus, task: SentencesTask) -> None:
    batches = list(task.train_batches(0))
    heard = sum(int(batch.targets["lengths"].sum()) for batch in batches)
    assert heard == sum(len(task.tokens.encode(utterance.words)) for utterance in corpus.train)
    for batch in batches:
        frames = batch.targets["frames"]
        assert batch.inputs["features"].shape[3] == 8 * frames.shape[1]
        assert bool((frames.sum(1) >= batch.targets["lengths"]).all())
        assert all(not value.any() for name, value in batch.inputs.items() if name.startswith("past"))


def test_rows_are_filled_so_that_batch_norm_sees_speech(task: SentencesTask) -> None:
    """Single words padded to a batch of their own once cost all single words of the validation."""
    for batch in task.train_batches(0):
        silence = (batch.inputs["features"] == 0).all(dim=2).float().mean()
        assert 0.1 < float(silence) < 0.55


def test_the_front_end_knows_nothing_of_validation_and_test(corpus: Corpus, task: SentencesTask) -> None:
    from dataclasses import replace

    fewer = SentencesTask(replace(corpus, validation=corpus.validation[:1], test=corpus.test[:1]), width=task.width)
    assert fewer.listener == task.listener
    assert fewer.tokens == task.tokens


def test_a_file_that_answers_one_by_one_scores_as_the_module(task: SentencesTask, net: SentencesNet) -> None:
    predict = asking(net, task)
    together = task.listener.logits(predict, task._features["test"][:8])
    alone = task.listener.logits(one_by_one(predict, task), task._features["test"][:8])
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_evaluation_hands_each_utterance_its_own_state(task: SentencesTask) -> None:
    """A model that counts the chunks that it has heard, in each row's cache, and tells the count."""

    def predict(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        count = inputs["past_maps"][:, 0, 0, 0] + 1
        logits = np.zeros((len(count), 8, len(task.tokens)), np.float32)
        logits[np.arange(len(count)), 0, count.astype(int)] = 1
        outputs = {written: inputs[read] for written, read in task.signatures["main"].state}
        outputs["new_maps"] = np.broadcast_to(count[:, None, None, None], inputs["past_maps"].shape).copy()
        return {"logits": logits, **outputs}

    for logits, features in zip(
        task.listener.logits(predict, task._features["test"]), task._features["test"], strict=True
    ):
        chunks = -(-(features.shape[1] + DELAY_FRAMES) // 64)
        assert [int(row.argmax()) for row in logits[::8]] == list(range(1, chunks + 1))


def test_who_hears_everything_makes_no_error_and_who_hears_nothing_makes_them_all(task: SentencesTask) -> None:
    deaf = one_by_one(lambda inputs, signature="main": {**_silent(task, inputs)}, task)
    assert task.evaluate(deaf, "test").value == 100
    said = iter([task.words("test")[place] for place in range(len(task.words("test")))])
    told = task.transcripts(deaf, "test", lambda logits: list(next(said)))
    assert [tuple(words) for words in told] == task.words("test")


def _silent(task: SentencesTask, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    logits = np.zeros((len(inputs["features"]), 8, len(task.tokens)), np.float32)
    logits[..., 0] = 1
    return {"logits": logits, **{written: inputs[read] for written, read in task.signatures["main"].state}}


def test_calibration_by_a_model_fills_the_caches(task: SentencesTask, net: SentencesNet) -> None:
    empty, filled = task.calibration_inputs(), task.heard_by(net).calibration_inputs()
    shapes = {name: spec.shape[1:] for name, spec in task.signatures["main"].inputs.items()}
    for inputs in (empty, filled):
        assert {name: value.shape[1:] for name, value in inputs.items()} == shapes
        assert len({len(value) for value in inputs.values()}) == 1
    assert not empty["past_7"].any()
    assert filled["past_7"].any()
    first = filled["past_maps"].reshape(len(filled["past_maps"]), -1).any(axis=1)
    assert 0 < int((~first).sum()) < len(first)  # some chunks are still the first ones
    assert not task.calibration_inputs()["past_7"].any()  # the task itself is as it was


def test_only_the_teacher_learns_with_dropout(corpus: Corpus) -> None:
    task = SentencesTask(corpus, width=16, dropout=0.3)
    net = sentences_net(len(task.tokens), task.width).eval()
    assert task.exported(net, "lesson").dropout == 0.3
    assert task.heard_by(net).exported(net, "lesson").dropout == 0.0
    with pytest.raises(InputError, match="Lessons are for a SentencesNet, but got Linear"):
        task.exported(torch.nn.Linear(1, 1), "lesson")


def test_the_middle_must_answer_too(task: SentencesTask, net: SentencesNet) -> None:
    batch = next(task.train_batches(0))
    logits, middle = task.exported(net, "lesson")(*batch.inputs.values())
    gradients = torch.autograd.grad(task.loss({"logits": logits, "middle_logits": middle}, batch), (logits, middle))
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)


def test_the_loss_falls(task: SentencesTask) -> None:
    torch.manual_seed(0)
    net = sentences_net(len(task.tokens), task.width)
    lesson = task.exported(net, "lesson")
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    losses = []
    for epoch in range(14):
        for batch in task.train_batches(epoch):
            loss = task.loss(
                dict(zip(task.signatures["lesson"].outputs, lesson(*batch.inputs.values()), strict=True)), batch
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_assets_are_what_was_learned_with(task: SentencesTask) -> None:
    assets = task.assets()
    assert json.loads(assets["tokens.json"]) == list(task.tokens.names)
    assert type(task.listener).from_json(assets["listener.json"].decode()) == task.listener
    assert assets["dictionary.txt"].decode().split() == list(task.dictionary)


def test_the_quick_demo_is_digits_with_a_smaller_teacher(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from demo_apps.speech.sentences import _demo

    monkeypatch.setattr(_demo, "load_corpus", lambda data: corpus)
    quick = SENTENCES.make_task(DemoRequest("official", None, 0, quick=True))
    assert isinstance(quick, SentencesTask)
    assert len(quick.words("test")) == 12
    teacher = SENTENCES.make_teacher(quick, 0)
    outputs = teacher(*(torch.from_numpy(value[:1]) for value in quick.calibration_inputs().values()))
    assert [tuple(o.shape) for o in outputs] == [o.shape for o in quick.signatures["main"].outputs.values()]
    assert demo.tasks["sentences"] is SENTENCES
