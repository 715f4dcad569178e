"""The search, and latency tables, on a phone: the same code as on this computer, through the real adb."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobiledistill.devices import Android, Programs, _runs
from tests.contract.searching_device import meets_a_latency_budget, predicts_what_it_measured
from tests.devices.phone import Phone


@pytest.fixture(autouse=True)
def _emulation_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
    monkeypatch.setattr(_runs, "_PREEMPTED_PER_RUN", 1e9)


@pytest.mark.long
def test_a_latency_budget_is_met_on_the_phone(phone: Phone, programs: Programs, tmp_path: Path) -> None:
    android = Android(phone.address, programs=programs)
    assert meets_a_latency_budget(android, tmp_path).path_kind == "shell"
    android.clean()
    assert not phone.path("/data/local/tmp/mobiledistill").exists()


@pytest.mark.long
def test_a_table_of_the_phone_predicts(phone: Phone, programs: Programs, tmp_path: Path, tflite: Path) -> None:
    table = predicts_what_it_measured(Android(phone.address, programs=programs), tmp_path, tflite)
    assert table.device.name == "Mobiledistill Fixture"
