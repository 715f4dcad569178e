"""Several processes over gloo do what one does with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]


def _curve(*launcher: str, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, *launcher, "-m", "tests.train._curve", *arguments]
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("CURVE"))
    found: dict[str, Any] = json.loads(line.removeprefix("CURVE"))
    return found


_TWO = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision",
        "no", "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip


def test_two_processes_give_the_curve_of_one() -> None:
    one, two = _curve(), _curve(*_TWO)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3, abs=1e-4)


def test_two_processes_accumulate_as_one_does() -> None:
    one, two = _curve(arguments=("2",)), _curve(*_TWO, arguments=("2",))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert one["losses"] != pytest.approx(_curve()["losses"], rel=1e-3)
