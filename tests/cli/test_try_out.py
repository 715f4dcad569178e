"""Trying a file: the newest run answers, in the format asked for, and what cannot be tried is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from converters import Program, convert
from mobiledistill import Answer, DemoTask, InputError, Predict, Recipe, Schedule, TryOut
from mobiledistill.cli._try_out import try_out
from tests.networks import Residual, Stripes


def _answer(predict: Predict, assets: Path, given: str) -> Answer:
    """``given`` is a number that fills the image."""
    logits = predict({"image": np.full((1, 1, 16, 16), float(given), np.float32)})["logits"]
    word = json.loads((assets / "labels.json").read_text())[0]
    return Answer(f"{word} {logits.shape}", picture=b"\x89PNG of a test", seconds_of_input=2.0)


TASK = DemoTask(
    make_task=lambda _: Stripes(),
    make_teacher=lambda _, __: Residual(),
    teacher_recipe=Recipe(epochs=1),
    schedule=Schedule(),
    try_out=TryOut("fill", "a number", _answer),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    artifacts = folder / "stripes-official-seed0" / "artifacts"
    (artifacts / "assets").mkdir(parents=True)
    (artifacts / "assets" / "labels.json").write_text('["upright"]')
    convert(Program(Residual().eval(), {"image": torch.zeros(1, 1, 16, 16)}, ("logits",)), artifacts / "student.onnx")
    result = {"artifacts": {"onnx": {"path": "somewhere/that/moved/student.onnx"}}}
    (artifacts.parent / "result.json").write_text(json.dumps(result))
    return folder


def test_the_answer_its_speed_and_its_picture_are_told(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try_out("stripes", TASK, "fill", "0.5", workdir, ("tflite", "onnx"), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "upright (1, 4)"
    assert lines[1] == f"Picture: {workdir / 'answer-stripes.png'}"
    assert "ms in the onnx file" in lines[2]
    assert (workdir / "answer-stripes.png").read_bytes() == b"\x89PNG of a test"


def test_as_json(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try_out("stripes", TASK, "fill", "0.5", workdir, ("onnx",), as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "onnx"
    assert facts["real_time_factor"] == pytest.approx(facts["latency_ms"] / 2000)


def test_what_was_not_run_or_cannot_be_tried_is_told(workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run of task 'stripes' with a file in coreml"):
        try_out("stripes", TASK, "fill", "1", workdir, ("coreml",), as_json=False)
    with pytest.raises(InputError, match="run the demo once"):
        try_out("stripes", TASK, "fill", "1", tmp_path, ("onnx",), as_json=False)
    with pytest.raises(InputError, match="does not read --other"):
        try_out("stripes", TASK, "other", "1", workdir, ("onnx",), as_json=False)
