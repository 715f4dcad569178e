"""The search, and latency tables, in a browser: the same code as on this computer, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobiledistill.devices import Browser, _runs
from tests.contract.searching_device import meets_a_latency_budget, predicts_what_it_measured


@pytest.fixture(autouse=True)
def _a_busy_machine_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)


@pytest.mark.long
def test_a_latency_budget_is_met_in_the_browser(browser: Browser, tmp_path: Path) -> None:
    assert meets_a_latency_budget(browser, tmp_path).path_kind == "browser"


@pytest.mark.long
def test_a_table_of_the_browser_predicts(browser: Browser, tmp_path: Path, tflite: Path) -> None:
    assert "WebAssembly" in predicts_what_it_measured(browser, tmp_path, tflite).device.cpu
