"""``mobiledistill calibrate``, and tables on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import mobiledistill as md
from mobiledistill.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calibrate", "--help") == 0
    shown = capsys.readouterr().out
    assert "Example: mobiledistill calibrate --device host -o host.json" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "phone"), "There is no device 'phone'"),
        (("--formats", "coreml"), "host does not run coreml; it runs tflite, onnx."),
        (("--networks", "2"), "networks must be 5 or more"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("calibrate", *arguments, "--workdir", tmp_path / "run", "-o", tmp_path / "t.json") == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said
    assert not (tmp_path / "t.json").exists()


def test_a_damaged_table_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text("{}")
    (tmp_path / "m.onnx").write_bytes(b"")
    assert run("profile", tmp_path / "m.onnx", "--device", f"table:{tmp_path / 't.json'}") == 2
    said = capsys.readouterr().err.strip()
    assert "is no latency table of schema 1: device: Field required" in said
    assert "\n" not in said


@pytest.mark.long
def test_this_machine_is_calibrated_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real thing, far too small to be exact: within a factor of three on a network it has not seen."""
    out = tmp_path / "host.json"
    command = ("calibrate", "--formats", "onnx", "--networks", "5", "--workdir", tmp_path / "run", "-o", out, "--json")
    assert run(*command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["formats"]["onnx"]["kinds"] > 5

    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 1), nn.ReLU(), nn.MaxPool2d(2))
    program = md.Program(net.eval(), {"image": torch.randn(1, 3, 32, 32)}, ("y",))
    file = md.convert(program, tmp_path / "net.onnx")
    measured = md.devices.Host(brief=True).measure(file, "onnx")
    assert measured is not None
    assert run("profile", file, "--device", f"table:{out}", "--json") == 0
    predicted = json.loads(capsys.readouterr().out)["main"]
    assert predicted["verdict"] == "predicted"
    assert predicted["prediction"]["error"] > 0
    assert measured.p50_ms / 3 < predicted["p50_ms"] < 3 * measured.p50_ms
