from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import InputError
from mobiledistill.devices import (
    Backend,
    DeviceInfo,
    Measurement,
    OutputCheck,
    Reference,
    RuntimeInfo,
    Telemetry,
    latency_per_use,
)

TIMES = st.floats(0, 1e6, allow_nan=False)


def measurement(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "device": DeviceInfo(name="host", os="Linux", cpu="some"),
        "runtime": RuntimeInfo(name="LiteRT", version="2.3.0"),
        "path_kind": "host",
        "file": "a.tflite",
        "sha256": "0" * 64,
        "format": "tflite",
        "signature": "main",
        "backend": Backend(asked="cpu", obtained="xnnpack, 1 partition"),
        "threads": 1,
        "batch": 1,
        "samples_ms": ((0.2, 0.3), (0.2, 0.25)),
        "percentile": 50.0,
        "latency_ms": 0.225,
        "ci95_ms": (0.2, 0.3),
        "p50_ms": 0.225,
        "p90_ms": 0.29,
        "drift_first_to_last_third": 0.0,
        "reference": Reference(sha256="1" * 64, samples_ms=((0.1,),), drift=0.0, largest_drift=0.0),
        "load_cold_ms": 1.0,
        "telemetry_before": Telemetry(loadavg=(0.1, 0.2, 0.3)),
        "telemetry_after": Telemetry(),
        "verdict": "valid",
    }
    return Measurement(**(fields | changes))


@given(st.tuples(TIMES, TIMES).map(sorted), TIMES)
def test_a_limit_is_met_missed_or_open_by_where_the_interval_lies(ends: list[float], limit: float) -> None:
    low, high = ends
    answer = measurement(ci95_ms=(low, high)).meets(limit)
    assert (answer == "met") == (high <= limit)
    assert (answer == "missed") == (low > limit)
    assert (answer == "open") == (low <= limit < high)


@pytest.mark.parametrize("verdict", ["invalid", "throttled"])
@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_what_is_not_valid_neither_meets_nor_misses(verdict: str, limit: float) -> None:
    assert measurement(verdict=verdict, reasons=("the reference drifted",)).meets(limit) == "open"


@given(st.lists(st.lists(TIMES, min_size=1, max_size=5), min_size=1, max_size=4))
def test_json_comes_back_the_same(samples: list[list[float]]) -> None:
    original = measurement(samples_ms=samples)
    assert Measurement.from_json(original.to_json()) == original


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"samples_ms": []}, "samples_ms"),
        ({"samples_ms": [[-1.0]]}, r"samples_ms\.0\.0"),
        ({"ci95_ms": [2.0, 1.0]}, "lower to its upper end"),
        ({"verdict": "fine"}, "verdict"),
        ({"verdict": "invalid"}, "has reasons"),
        ({"surprise": 1}, "surprise"),
        ({"threads": 0}, "threads"),
    ],
)
def test_json_that_breaks_a_rule_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    content = json.loads(measurement().to_json()) | change
    with pytest.raises(InputError, match=message) as caught:
        Measurement.from_json(json.dumps(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"p50_ms": NaN}', "\x00"])
def test_text_that_is_no_measurement_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no measurement of schema 1"):
        Measurement.from_json(text)


def test_a_use_is_the_sum_of_its_calls() -> None:
    encode = measurement(samples_ms=((2.0,) * 20,) * 5, latency_ms=2.0, ci95_ms=(2.0, 2.0))
    step = measurement(samples_ms=((0.5,) * 20,) * 5, latency_ms=0.5, ci95_ms=(0.5, 0.5))
    use = latency_per_use({"encode": encode, "step": step}, {"step": 12})
    assert use.latency_ms == 8.0
    assert use.ci95_ms == (8.0, 8.0)
    assert (use.meets(8.0), use.meets(7.9)) == ("met", "missed")


def test_a_use_is_only_as_valid_as_its_worst_part() -> None:
    bad = measurement(verdict="invalid", reasons=("the reference drifted",))
    assert latency_per_use({"a": measurement(), "b": bad}).meets(1e9) == "open"


def test_calls_of_a_signature_that_was_not_measured_are_refused() -> None:
    with pytest.raises(InputError, match="names step, but only encode"):
        latency_per_use({"encode": measurement()}, {"step": 12})
    with pytest.raises(InputError, match="no measurement"):
        latency_per_use({})


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_an_output_that_overflows_alike_is_the_same_answer_and_any_other_is_not(odd: float) -> None:
    due = {"y": np.array([[1.0, odd, 3.0]], np.float32)}
    assert OutputCheck.of(due, {"y": due["y"].copy()}).same
    wrong = OutputCheck.of(due, {"y": np.array([[1.0, 2.0, 3.0]], np.float32)})
    assert not wrong.same
    assert Measurement.from_json(measurement().with_outputs(wrong).to_json()).verdict == "invalid"
    assert not OutputCheck.of({"y": np.ones((1, 3), np.float32)}, due).same
