"""Every command of the README runs as it is printed, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
BY_CI = {"make demo"}
"""CI runs these itself: they make their own environment."""


def commands() -> list[str]:
    return [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]


def test_ci_runs_what_is_left_to_it() -> None:
    assert set(commands()) >= BY_CI
    assert all(command in (ROOT / ".ci" / "run").read_text() for command in BY_CI)


@pytest.mark.long
def test_every_command_runs(tmp_path: Path, fsdd_root: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "mobiledistill"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m mobiledistill "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    folder = tmp_path
    for command in commands():
        if command in BY_CI:
            continue
        if command.startswith("cd "):
            folder = tmp_path / command.removeprefix("cd ")
            continue
        here = tmp_path if "docs/" in command else folder
        ran = subprocess.run(command.split(), cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    assert (folder / "exported" / "student.mlpackage").is_dir()
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()


def test_the_python_example_names_what_exists() -> None:
    import mobiledistill as md

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert all(hasattr(md, name) for name in re.findall(r"\bmd\.(\w+)", example))
    assert all(name in md.CompressionResult.__dict__ or name in md.CompressionResult.__annotations__
               for name in re.findall(r"\bresult\.(\w+)", example))  # fmt: skip
