"""Two runs never share a phone."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from converters import DeviceError
from mobiledistill.devices import _phone_lock
from mobiledistill.devices._phone_lock import phone_lock

HOLDS = """
import sys, time
from mobiledistill.devices._phone_lock import phone_lock
with phone_lock("a phone of this test"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def holding(seconds: float) -> subprocess.Popen[str]:
    """Another program that has the phone."""
    other = subprocess.Popen([sys.executable, "-c", HOLDS, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_another_program_is_waited_for() -> None:
    with holding(2.0):
        began = time.monotonic()  # the other program has started, and has the phone
        with phone_lock("a phone of this test"):
            assert time.monotonic() - began > 1.0


def test_who_waits_too_long_is_told_which_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_phone_lock, "_WAIT_FOR_OTHERS_S", 0.2)
    with holding(60.0) as other:
        with phone_lock("another phone"):
            pass
        with (
            pytest.raises(DeviceError, match=r"^a phone of this test has been in use by another run"),
            phone_lock("a phone of this test"),
        ):
            pass
        other.kill()
    with phone_lock("a phone of this test"):  # a program that died holds nothing
        pass
