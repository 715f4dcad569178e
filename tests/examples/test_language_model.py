"""The language model: its step agrees with the whole, its perplexity is right, and the example runs to its end."""

from __future__ import annotations

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
from demo_apps.translation import BEGIN, END, PAD, padded, predictor
from demo_apps.translation._phrases import made_up_pairs
from examples.language_model import LONGEST, LanguageModel, NextPieces, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "deu.txt").write_text("".join(f"{source}\t{target}\n" for source, target in made_up_pairs()), "utf-8")
    return folder


@pytest.fixture(scope="module")
def task(folder: Path) -> NextPieces:
    return NextPieces(folder, vocabulary_size=150)


@pytest.fixture(scope="module")
def model(task: NextPieces) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(len(task.vocabulary), width=32).eval()


def test_it_is_a_task(task: NextPieces) -> None:
    assert isinstance(task, md.Task)
    assert isinstance(task, md.Equipped)
    for name, signature in task.signatures.items():
        arrays = task.calibration_inputs(name)
        assert {key: value.shape[1:] for key, value in arrays.items()} == {
            key: spec.shape[1:] for key, spec in signature.inputs.items()
        }
        assert {key: str(value.dtype) for key, value in arrays.items()} == {
            key: spec.dtype for key, spec in signature.inputs.items()
        }


def test_no_text_to_learn_from_is_scored(task: NextPieces) -> None:
    learned = {tuple(text) for text in task._train}
    for split in ("validation", "test"):
        assert task._held_out[split]
        assert not learned & {tuple(text) for text in task._held_out[split]}


def test_perplexity_through_steps_is_that_of_the_whole(task: NextPieces, model: LanguageModel) -> None:
    texts = task._held_out["test"]
    read = torch.from_numpy(padded([[BEGIN, *text] for text in texts], LONGEST))
    following = torch.from_numpy(padded([[*text, END] for text in texts], LONGEST)).long()
    with torch.no_grad():
        known = functional.cross_entropy(model(read).flatten(0, 1), following.flatten(), ignore_index=PAD)

    score = task.evaluate(predictor(task, model), "test")
    assert score.value == pytest.approx(math.exp(float(known)), rel=1e-4)
    assert score.ci95[0] < score.value < score.ci95[1]
    assert score.n == len(texts)


def test_one_who_guesses_evenly_has_as_many_choices_as_there_are_pieces(task: NextPieces) -> None:
    def even(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        outputs = task.signatures[signature].outputs
        n = len(inputs["token"])
        return {name: np.zeros((n, *output.shape[1:]), np.float32) for name, output in outputs.items()}

    assert task.evaluate(even, "validation").value == pytest.approx(len(task.vocabulary))


def test_an_epoch_reads_every_sentence_once(task: NextPieces) -> None:
    texts = [
        tuple(row[row != PAD].tolist()) for batch in task.train_batches(3) for row in batch.inputs["text"].unbind()
    ]
    assert sorted(texts) == sorted((BEGIN, *text) for text in task._train)


def test_it_learns(task: NextPieces, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LanguageModel(len(task.vocabulary), width=32)
    before = task.evaluate(predictor(task, net), "validation").value
    md.train_model(net, task, md.Recipe(epochs=2, learning_rate=1e-2), workdir=tmp_path)
    after = task.evaluate(predictor(task, net), "validation")
    assert after.ci95[1] < before / 5


@pytest.mark.long
def test_the_example_runs_to_its_end(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = ["--workdir", str(tmp_path), "--size", "250kB"]
    result = main(["--quick", "--data", str(folder), "--formats", "onnx", *workdir])
    assert result.met
    assert result.artifacts["onnx"].score.value < 500 / 5
    assert result.artifacts["onnx"].parity.integers_equal
    assert "bits per piece" in capsys.readouterr().out
