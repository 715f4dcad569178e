"""Files that several tests look at: each is written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from converters import Program, TFLite
from converters._tflite import export_tflite
from converters._tflite._export import _convert, _improve
from tests.converters._networks import example_input, float_net, quantized_net


@dataclass(frozen=True)
class Exported:
    """A program, its file, and what litert-torch wrote before we touched it."""

    program: Program
    path: Path
    raw: bytes


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    program = Program(quantized_net(8), {"features": example_input()}, ("logits",))
    path = tmp_path_factory.mktemp("quantized") / "net.tflite"
    assert export_tflite([program], path) == path
    return Exported(program, path, _convert([program])[0])


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    program = Program(float_net(8), {"features": example_input()}, ("logits",))
    path, raw = tmp_path_factory.mktemp("float32") / "net.tflite", _convert([program])[0]
    path.write_bytes(_improve(raw, "float32", [], [program], TFLite()))
    return Exported(program, path, raw)


@pytest.fixture(scope="session")
def halves(floats: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("float16") / "net.tflite"
    path.write_bytes(_improve(floats.raw, "float16", [], [floats.program], TFLite()))
    return Exported(floats.program, path, floats.raw)
