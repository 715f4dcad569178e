"""Packages that several tests look at: each is written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from converters import CoreML, Program
from converters._coreml import export_coreml
from converters._coreml._export import _convert
from converters._fold import fold_weight_quantization
from converters._program import export_program
from tests.converters._networks import example_input, float_net, quantized_net


@dataclass(frozen=True)
class Exported:
    """A program, its package, and for the quantized one the package as coremltools alone writes it."""

    program: Program
    path: Path
    plain: Path | None = None


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    program = Program(quantized_net(8), {"features": example_input()}, ("logits",))
    folder = tmp_path_factory.mktemp("quantized")
    path, plain = folder / "net.mlpackage", folder / "plain.mlpackage"
    assert export_coreml([program], path) == path
    _convert(program, fold_weight_quantization(export_program(program)), [], "float32", "iOS17", plain, CoreML())
    return Exported(program, path, plain)


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    program = Program(float_net(8), {"features": example_input()}, ("logits",))
    return Exported(program, export_coreml([program], tmp_path_factory.mktemp("floats") / "net.mlpackage"))


@pytest.fixture(scope="session")
def halves(floats: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("halves") / "net.mlpackage"
    return Exported(floats.program, export_coreml([floats.program], path, "float16"))


@pytest.fixture(scope="session")
def two_signatures(quantized: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The quantized net as ``main``, and once more as ``again``."""
    twin = Program(quantized.program.module, quantized.program.inputs, ("scores",), "again")
    path = tmp_path_factory.mktemp("two") / "net.mlpackage"
    return Exported(quantized.program, export_coreml([quantized.program, twin], path))
