"""What phones say of themselves: real shapes of three Android releases, and anything else without a fall."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobiledistill.devices._android_state import (
    Battery,
    Core,
    Thermal,
    battery,
    cores,
    fastest,
    is_awake,
    properties,
    thermal,
)

TENSOR = "0 1803000\n1 1803000\n2 1803000\n3 1803000\n4 2348000\n5 2348000\n6 2850000\n7 2850000\n"

ANDROID_10 = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
ThermalStatusListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=61.9, mType=0, mName=CPU, mStatus=0}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{mValue=38.1, mType=0, mName=CPU0, mStatus=0}
	Temperature{mValue=-40.0, mType=1, mName=GPU0, mStatus=0}
	Temperature{mValue=30.7, mType=2, mName=battery, mStatus=0}
	Temperature{mValue=33.211, mType=3, mName=skin, mStatus=0}
	Temperature{mValue=99.0, mType=6, mName=USB_PORT, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=3, mType=2, mName=thermal-cpufreq-0}
"""

THERMAL = [
    (ANDROID_10, Thermal(0, 38.1)),
    (ANDROID_10.replace("Thermal Status: 0", "Thermal Status: 3"), Thermal(3, 38.1)),
    ("Can't find service: thermalservice\n", Thermal(None, None)),
    (ANDROID_10.replace("mValue=38.1", "mValue=0.0"), Thermal(0, 33.211)),  # a dead sensor
]

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 64
  scale: 100
  voltage: 4021
  temperature: 312
  technology: Li-ion
"""


def test_clusters_are_told_apart_by_their_highest_clock() -> None:
    found = cores(TENSOR)
    assert found[0] == Core(0, 1803000)
    assert [fastest(found, threads) for threads in (1, 2, 3, 5)] == [(6, 7), (6, 7), (4, 5, 6, 7), tuple(range(8))]
    assert fastest((), 1) == ()


def test_a_core_that_hides_its_clock_is_left_out() -> None:
    assert cores("0 1800000\n1 \n10 2900000\r\n") == (Core(0, 1800000), Core(10, 2900000))


@pytest.mark.parametrize(("text", "expected"), THERMAL)
def test_temperatures_are_those_of_now(text: str, expected: Thermal) -> None:
    assert thermal(text) == expected


def test_a_battery_is_read() -> None:
    assert battery(BATTERY) == Battery(64, 31.2, True)
    assert battery(BATTERY.replace("USB powered: true", "USB powered: false")).is_powered is False
    assert battery("") == Battery(None, None, None)


def test_the_screen_is_awake_asleep_or_unknown() -> None:
    assert is_awake("  mWakefulness=Awake\n") is True
    assert is_awake("  mWakefulness=Dozing\n") is False
    assert is_awake("Power is fine") is None


def test_properties_keep_what_stands_in_brackets() -> None:
    assert properties("[ro.a]: [x y]\r\n[ro.b]: []\nnone\n") == {"ro.a": "x y", "ro.b": ""}


@settings(max_examples=300)
@given(st.sampled_from([TENSOR, ANDROID_10, BATTERY, "[ro.a]: [b]\n"]), st.data())
def test_torn_text_is_read_as_far_as_it_goes(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    torn = text[:start] + data.draw(st.text(max_size=12)) + text[end:]
    found = thermal(torn), battery(torn), cores(torn)
    assert found[0].status is None or 0 <= found[0].status <= 9
    assert all(core.number >= 0 for core in found[2])
    is_awake(torn)
    properties(torn)
