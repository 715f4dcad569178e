"""`make test` where a tool is missing: said aloud, and a failure where all is required."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def empty_venv(tmp_path: Path) -> Path:
    """A virtual environment that looks installed and holds no tool."""
    (tmp_path / "bin").mkdir()
    for name in ("bin/python", ".installed-all", ".installed-dev"):
        (tmp_path / name).touch()
    return tmp_path


def test_missing_tools_are_skipped_loudly(empty_venv: Path) -> None:
    run = _make_test(empty_venv, require="")

    assert run.returncode == 0
    for stage, tool in (("lint", "ruff"), ("types", "mypy"), ("tests", "pytest")):
        assert f"=== {stage}: SKIPPED, {tool} is not in {empty_venv}" in run.stdout


def test_missing_tools_fail_where_all_is_required(empty_venv: Path) -> None:
    run = _make_test(empty_venv, require="all")

    assert run.returncode != 0
    assert "make test: FAILED in lint types tests" in run.stdout


def test_a_failing_stage_fails_the_whole_after_the_others_ran(empty_venv: Path) -> None:
    for tool, status in (("ruff", 0), ("mypy", 1), ("pytest", 0)):
        path = empty_venv / "bin" / tool
        path.write_text(f"#!/bin/sh\necho ran {tool}\nexit {status}\n")
        path.chmod(0o755)

    run = _make_test(empty_venv, require="")

    assert run.returncode != 0
    assert "ran pytest" in run.stdout
    assert "make test: FAILED in types" in run.stdout


def _make_test(venv: Path, require: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["MOBILEDISTILL_REQUIRE"] = require
    command = ["make", "-C", str(ROOT), "test", f"VENV={venv}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
