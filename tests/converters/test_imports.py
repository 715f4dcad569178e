"""What converting to one format loads: nothing that only another format, or another kind of source, needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CONVERT = """
import sys, torch
from pathlib import Path
from converters import Program, convert
convert(Program(torch.nn.Linear(4, 4).eval(), {"x": torch.zeros(1, 4)}, ("y",)), Path(sys.argv[1]))
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""

LIBRARIES = {
    "litert_torch": "tflite",
    "ai_edge_litert": "tflite",
    "coremltools": "coreml",
    "onnx": "onnx",
    "onnxruntime": "the run of an .onnx",
    "tensorflow": "Keras",
    "keras": "Keras",
}


@pytest.mark.parametrize(("suffix", "format"), [(".tflite", "tflite"), (".mlpackage", "coreml"), (".onnx", "onnx")])
def test_a_format_loads_its_own_libraries_alone(suffix: str, format: str, tmp_path: Path) -> None:
    assert importlib.util.find_spec("tensorflow")  # else it would prove nothing
    arguments = [str(tmp_path / f"net{suffix}"), *LIBRARIES]
    loaded = subprocess.run([sys.executable, "-c", CONVERT, *arguments], capture_output=True, text=True, check=True)
    names = loaded.stdout.splitlines()[-1].split()
    assert names == [name for name, needed_by in LIBRARIES.items() if needed_by == format]
