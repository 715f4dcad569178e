"""The examples of docs/files.md run as they are printed, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "files.md"


def test_every_example_runs(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {"folder": tmp_path}

    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)

    assert len(examples) == 5
    assert {part.name for part in tmp_path.iterdir()} == {"net.tflite", "net.mlpackage", "net.onnx", "net.ort"}
