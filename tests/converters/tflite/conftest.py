"""Files that several tests look at: each is written once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters import Program, TFLite
from converters._tflite import export_tflite
from converters._tflite._export import _convert, _improve
from tests.converters._networks import example_input, float_net, quantized_net

PythonWith = Callable[..., Path]


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
    path.write_bytes(_improve(raw, "float32", [], [], [program], TFLite()))
    return Exported(program, path, raw)


@pytest.fixture(scope="session")
def halves(floats: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("float16") / "net.tflite"
    path.write_bytes(_improve(floats.raw, "float16", [], [], [floats.program], TFLite()))
    return Exported(floats.program, path, floats.raw)


@pytest.fixture(scope="session")
def python_with() -> PythonWith:
    """Makes a Python that has what cannot live beside our own libraries; it is kept for the next run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mobiledistill-tests"

    def python_with(package: str, *more: str) -> Path:
        folder = cache / package.replace("==", "-")
        python = folder / "bin" / "python"
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
            install = [str(python), "-m", "pip", "install", "--quiet", package, *more]
            installed = subprocess.run(install, capture_output=True, text=True, check=False)
            if installed.returncode:
                pytest.skip(f"{package} cannot be installed here: {installed.stderr.strip()[-200:]}")
            (folder / "complete").touch()
        return python

    return python_with


def run_in(python: Path, program: str, *arguments: Path) -> str:
    """What a program prints under another Python."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True, env=environment
    ).stdout
