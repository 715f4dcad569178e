"""The promise of MOBILEDISTILL_REQUIRE=all: what is skipped elsewhere fails there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOME_SKIPPED = """
import pytest

def test_in_a_fixture(fsdd_root): ...

@pytest.mark.skip(reason="by mark")
def test_by_mark(): ...

@pytest.mark.xfail(reason="expected")
def test_expected_failure():
    assert False
"""
ALL_SKIPPED = """
import pytest
pytest.importorskip("no_such_library")
"""


@pytest.mark.parametrize(
    ("require", "status", "expected"),
    [("", 0, "3 skipped, 1 xfailed"), ("all", 1, "1 xfailed, 3 errors")],
)
def test_skips_fail_where_all_is_required(tmp_path: Path, require: str, status: int, expected: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(SOME_SKIPPED)
    (tmp_path / "test_all.py").write_text(ALL_SKIPPED)
    environment = {**os.environ, "MOBILEDISTILL_REQUIRE": require, "MOBILEDISTILL_DATA": str(tmp_path / "nowhere")}

    options = ["-q", "-rsE", "--continue-on-collection-errors", "-pno:anyio", "-pno:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert expected in run.stdout
    assert run.returncode == status
    assert "could not import 'no_such_library'" in run.stdout  # the reason stays
