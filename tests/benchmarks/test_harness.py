"""The phones' program beside Python's runtimes: a short run, and what the page counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import page

ROOT = Path(__file__).parents[2]


def test_the_page_counts_what_is_within_3_percent() -> None:
    one = {"student": "digits 0", "precision": "int8", "format": "onnx", "python_ms": 0.1, "harness_ms": 0.1}
    files = [{**one, "ratio": ratio, "ci95": [0.9, 1.1], "own_us": 0.02} for ratio in (0.96, 0.98, 1.029, 1.04)]
    text = page({"cpu": "a processor", "rounds": 3, "samples": 20, "load": 0.1, "files": files})
    assert "Within 3 % of Python's: 2 of 4." in text
    assert "0.02 us, of a shortest run of 100.0 us" in text


@pytest.mark.long
def test_a_short_run_measures_both_runtimes(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not here: apt install gcc libc6-dev")
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.harness", "--quick", "--json", "harness.json", "--workdir", "files"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    files = json.loads((tmp_path / "harness.json").read_text())["files"]
    assert {one["format"] for one in files} == {"tflite", "onnx"}
    assert all(0.5 < one["ratio"] < 2 and 0 < one["own_us"] < 2 for one in files)
    assert "| digits 1, int8 | tflite |" in (tmp_path / "harness.md").read_text()
