"""Which of two is faster, and what is not compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters import InputError
from mobiledistill.devices import Backend, DeviceInfo, Host, Reference, RuntimeInfo, Subject, latency_ratio
from tests.devices.test_measurement import measurement


def _samples(median_ms: float, paces: np.ndarray[Any, Any], seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    taken = tuple(tuple((median_ms * pace * random.normal(1, 0.002, 50)).tolist()) for pace in paces)
    found = float(np.median(taken))
    return {"samples_ms": taken, "latency_ms": found, "p50_ms": found, "ci95_ms": (found * 0.9, found * 1.1)}


def test_in_turns_what_slows_both_down_is_no_difference() -> None:
    """Processes differ by 20 %, the files by 5 %: only what was measured in turns can tell."""
    paces = np.linspace(1.0, 1.2, 6)
    fast, slow = _samples(0.95, paces), _samples(1.0, paces, seed=1)
    in_turns = latency_ratio(measurement(**fast), measurement(**slow))
    assert in_turns.ci95[1] < 1
    assert in_turns.ratio == pytest.approx(0.95, abs=0.01)
    assert "faster" in str(in_turns)
    other = Reference(sha256="1" * 64, samples_ms=((0.2,),), drift=0.0, largest_drift=0.0)
    apart = latency_ratio(measurement(**fast), measurement(**slow, reference=other))
    assert apart.ci95[0] < 1 < apart.ci95[1]
    assert "no difference is shown" in str(apart)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path_kind": "shell"}, "different paths, host and shell"),
        ({"device": DeviceInfo(name="Pixel 8", os="Linux", cpu="some")}, "different devices, host and Pixel 8"),
        ({"runtime": RuntimeInfo(name="LiteRT", version="2.2.0")}, "different runtimes, LiteRT 2.3.0 and LiteRT 2.2.0"),
        ({"threads": 4}, "different threads, 1 and 4"),
        ({"backend": Backend(asked="gpu", obtained="gpu")}, "different backends, cpu and gpu"),
        ({"percentile": 90.0}, "different percentiles, 50.0 and 90.0"),
        ({"verdict": "throttled", "reasons": ("it was hot",)}, r"a.tflite is throttled \(it was hot\)"),
        ({"verdict": "invalid", "reasons": ("it was busy",)}, r"a.tflite is invalid \(it was busy\)"),
    ],
)
def test_what_was_not_measured_alike_is_refused_unless_forced(changes: dict[str, Any], told: str) -> None:
    base = measurement(**changes)
    with pytest.raises(InputError, match=told) as raised:
        latency_ratio(measurement(), base)
    assert "\n" not in str(raised.value)
    forced = latency_ratio(measurement(), base, force=True)
    assert forced.ratio == pytest.approx(1.0)
    assert len(forced.forced) == 1
    assert "compared all the same" in str(forced)


def test_of_different_formats_the_runtimes_are_what_is_compared() -> None:
    other = measurement(format="onnx", runtime=RuntimeInfo(name="onnxruntime", version="1.24.0"))
    assert latency_ratio(measurement(), other).forced == ()


def test_a_file_is_as_fast_as_itself(tflite: Any) -> None:
    one, same = Host(brief=True).measure_interleaved([Subject(tflite, "tflite")] * 2, processes=3, samples=40)
    assert latency_ratio(one, same, force=True).ratio == pytest.approx(1.0, abs=0.3)
