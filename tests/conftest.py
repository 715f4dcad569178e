"""What all tests share: real recordings, a fixed number of threads, and no silent skip where none is allowed."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
import torch

pytest_plugins = ["tests.devices.browser._fixtures", "tests.devices.phone._fixtures"]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Results depend on it: two is what the smallest machine has, one where two workers share it.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # for the processes that tests start


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of data sets that MOBILEDISTILL_DATA names, what a user gives as ``--data``."""
    root = os.environ.get("MOBILEDISTILL_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip(f"needs real data, and MOBILEDISTILL_DATA={root!r} is not a folder")
    return Path(root)


@pytest.fixture(scope="session")
def fsdd_root(data_root: Path) -> Path:
    """The Free Spoken Digit Dataset: a folder that holds ``recordings/``."""
    root = data_root / "fsdd"
    if not (root / "recordings").is_dir():
        pytest.skip(f"needs the Free Spoken Digit Dataset, and {root} has no folder recordings")
    return root


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: of two workers none waits long for the other at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_skip((yield))


def _without_skip(report: Report) -> Report:
    """Turns a skip into a failure where MOBILEDISTILL_REQUIRE=all; an expected failure is not a skip."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or os.environ.get("MOBILEDISTILL_REQUIRE") != "all":
        return report
    where, line, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, report.longreprtext)
    report.outcome = "failed"
    report.longrepr = f"MOBILEDISTILL_REQUIRE=all forbids skips. {where}:{line}: {reason}"
    return report
