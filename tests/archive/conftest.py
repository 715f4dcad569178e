"""Small quantized students in every format, and the decoder in C, built once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from converters import ONNX, Program, convert
from mobiledistill.quantize import LayerScheme, Palette, WeightOnly, post_training
from tests.networks import Residual, settled

NATIVE = Path(__file__).parents[2] / "mobiledistill" / "devices" / "assets" / "native"


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network in integers, in nibbles and in palettes."""
    folder = tmp_path_factory.mktemp("students")
    torch.manual_seed(0)
    images = torch.randn(32, 1, 16, 16)
    program = Program(settled(Residual(16), images), {"image": images[:1]}, ("logits",))
    found = {}
    (integers,) = post_training(program, {"image": images})
    for suffix in ("tflite", "onnx", "mlpackage"):
        found[suffix] = convert(integers, folder / f"student.{suffix}")
    few: dict[str, LayerScheme] = {"nibbles": WeightOnly(4), "palette": Palette(6)}
    for name, scheme in few.items():
        (stored,) = post_training(program, scheme=scheme)
        suffix, details = ("onnx", ONNX(opset=21)) if name == "nibbles" else ("mlpackage", None)
        found[name] = convert(stored, folder / f"{name}.{suffix}", details=details)
    return found


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mdunpack``, which stops at the first thing that C leaves undefined."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    program = tmp_path_factory.mktemp("native") / "mdunpack"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=address,undefined"]
    sources = [NATIVE / "mdpack.c", NATIVE / "mdunpack.c"]
    subprocess.run(["gcc", *flags, "-fno-sanitize-recover=all", *sources, "-o", program], check=True)
    return program
