"""Wishes for how numbers are stored, and those that cannot be meant."""

from __future__ import annotations

import pytest

from mobiledistill import InputError
from mobiledistill.quantize import Int4, Int8, Int8Or4


@pytest.mark.parametrize("scheme", [Int8, Int4, Int8Or4])
@pytest.mark.parametrize("percentile", [0.9999, 49.9, 100.1, float("nan")])
def test_a_percentile_is_in_percent(scheme: type[Int8 | Int8Or4], percentile: float) -> None:
    with pytest.raises(InputError, match="percentile must be 50 to 100, or None, but got"):
        scheme(percentile=percentile)


@pytest.mark.parametrize("percentile", [50, 99.99, 100, None])
def test_percentiles_within_are_taken(percentile: float | None) -> None:
    assert Int8(percentile).percentile == Int8Or4(percentile).percentile == percentile
