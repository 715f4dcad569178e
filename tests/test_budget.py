"""Budgets: what is accepted, what is refused, and how they are read from text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiledistill import Budget, InputError


@given(value=st.one_of(st.floats(max_value=0), st.just(math.nan), st.just(math.inf)))
def test_limits_that_are_not_above_zero_and_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="latency_ms must be greater than 0 and finite"):
        Budget(latency_ms=value)


def test_an_empty_budget_is_refused() -> None:
    with pytest.raises(InputError, match="at least one limit"):
        Budget()


def test_a_limit_may_differ_by_format() -> None:
    budget = Budget(size_bytes={"tflite": 20_000, "coreml": 60_000}, max_metric_drop=1.0)
    assert budget.limit("size_bytes", "tflite") == 20_000
    assert budget.limit("size_bytes", "onnx") is None
    limits = list(budget.limits(("tflite", "onnx")))
    assert [(limit.format, limit.name, limit.value) for limit in limits] == [
        ("tflite", "size_bytes", 20_000),
        (None, "max_metric_drop", 1.0),
    ]


def test_a_limit_on_an_unknown_format_is_refused() -> None:
    with pytest.raises(InputError, match="the formats are tflite, coreml, onnx"):
        Budget(size_bytes={"gguf": 1})  # type: ignore[dict-item]  # that is the point


@given(kilobytes=st.integers(1, 10_000), microseconds=st.integers(1, 100_000))
def test_parse_reads_units(kilobytes: int, microseconds: int) -> None:
    budget = Budget.parse(f"{kilobytes}kB,{microseconds}us@p90")
    assert budget.size_bytes == kilobytes * 1000
    assert budget.latency_ms == pytest.approx(microseconds / 1000)
    assert budget.latency_percentile == 90


@pytest.mark.parametrize(
    "text", ["banana", "-3", "0", "0ms", "1kB,2kB", "3 parsecs", "", "0.5ms@p90x", "nan", "1e400kB"]
)
def test_parse_refuses_what_is_no_budget(text: str) -> None:
    with pytest.raises(InputError):
        Budget.parse(text)


def test_a_limit_may_be_a_share_of_the_teachers_latency() -> None:
    budget = Budget(latency_share={"onnx": 0.5})
    assert [(limit.format, limit.name, limit.value) for limit in budget.limits(("tflite", "onnx"))] == [
        ("onnx", "latency_share", 0.5)
    ]
    assert str(budget) == "0.5 of the teacher's latency (onnx)"


def test_repr_shows_only_what_was_given() -> None:
    assert repr(Budget(size_bytes=30_000, latency_ms=0.5)) == "Budget(size_bytes=30000, latency_ms=0.5)"
