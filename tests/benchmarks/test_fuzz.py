"""A slice of the fuzzing, and that it notices readers that break."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import READERS, Reader
from benchmarks.fuzz._mutate import mutated, mutated_json
from benchmarks.fuzz._page import page
from benchmarks.fuzz._run import Case, cases
from converters import InputError, run_in_child

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_no_damaged_file_breaks_a_reader(tmp_path: Path) -> None:
    found = tmp_path / "fuzz.json"
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "--files", "80", "--seed", "1", "--json", str(found)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    tallies = json.loads(found.read_text())
    assert list(tallies) == list(READERS)
    for name, tally in tallies.items():
        assert tally["faults"] == [], name
        assert tally["files"] == tally["refused"] + tally["accepted"] == 80
        assert tally["refused"] > 0
    assert "## What broke" not in found.with_suffix(".md").read_text()


def _break(folder: Path) -> None:
    match (folder / "case").read_text():
        case "error":
            raise ValueError("of Python's own")
        case "lines":
            raise InputError("one\ntwo")
        case "refused":
            raise InputError("one")
        case "death":
            os._exit(7)
        case "memory":
            bytearray(2_000_000_000)
        case "loop":
            while True:
                pass


KINDS = ["sound", "error", "lines", "refused", "death", "memory", "loop", "sound"]


def _harness() -> list[Case]:
    by_draw = {random.Random(f"0/{index}").random(): {"case": kind.encode()} for index, kind in enumerate(KINDS)}
    reader = Reader("kinds", lambda folder: [], lambda corpus, draw: by_draw[draw.random()], _break)
    return list(cases(reader, [], range(len(KINDS)), seed=0))


def test_what_breaks_is_told_from_what_is_refused() -> None:
    found = run_in_child(_harness, timeout_s=200)
    assert [case.index for case in found] == list(range(len(KINDS)))
    assert [case.outcome for case in found] == [
        *("accepted", "crash", "crash", "refused", "crash", "crash", "hang", "accepted"),
    ]
    assert found[1].reason.startswith("ValueError at tests/benchmarks/test_fuzz.py:")
    assert "exit code 7" in found[4].reason
    assert found[5].reason.startswith("MemoryError")


def test_damages_follow_from_the_seed_alone() -> None:
    text = b'{"a": [1, 2, {"b": null}], "c": "d"}'
    for damage in (mutated, mutated_json):
        once, again = ([damage(text, (text,), random.Random(seed)) for seed in range(50)] for _ in range(2))
        assert once == again
        assert len(set(once)) > 40
        assert text not in once[:5]


def test_a_break_is_told_on_the_page() -> None:
    tally = {"files": 10_000, "refused": 9_990, "accepted": 9, "crashes": 1, "hangs": 0, "most_seconds": 0.25,
             "most_bytes": 12_000_000, "faults": [{"index": 7, "reason": "KeyError at a.py:3 (x)"}]}  # fmt: skip
    text = page({"plan": tally})
    assert "| plans | 10,000 | 9,990 | 9 | 1 | 0 | 0.250 | 12 |" in text
    assert "- plan, file 7: KeyError at a.py:3 (x)" in text
