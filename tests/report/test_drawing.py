"""Numbers as people read them, and where shapes and names are placed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._bars import LayerBars
from mobiledistill.report._svg import CHARACTER, Scale, ticks
from mobiledistill.report._training import Epoch, score_figure
from tests.report._html import read


@pytest.mark.parametrize(
    ("value", "expected"),
    [(512, "512_B"), (19_612, "19.6_kB"), (999_999, "1.00_MB"), (1_234_567, "1.23_MB"), (60_000, "60.0_kB")],
)
def test_sizes(value: float, expected: str) -> None:
    assert numbers.size(value) == expected.replace("_", numbers.THIN)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.035123, "0.0351"), (9.996, "10.0"), (1234.4, "1_234"), (-0.667, "−0.667"), (0.0, "0"), (float("inf"), "∞")],
)
def test_three_significant_digits(value: float, expected: str) -> None:
    assert numbers.significant(value) == expected.replace("_", numbers.THIN)


@pytest.mark.parametrize(
    ("value", "expected"), [(8.24, "8.2_s"), (59.97, "1_min 00_s"), (92.3, "1_min 32_s"), (3840, "1_h 04_min")]
)
def test_durations(value: float, expected: str) -> None:
    assert numbers.duration(value) == expected.replace("_", numbers.THIN)


def test_what_is_close_to_its_limit_is_shown_with_more_digits() -> None:
    shown = numbers.beside_limit("size_bytes", 20_012, 20_000, "%")
    assert shown == tuple(f"{value}{numbers.THIN}kB" for value in ("20.01", "20"))
    assert numbers.beside_limit("latency_ms", 0.15, 0.3, "%") == tuple(f"{v}{numbers.THIN}ms" for v in ("0.150", "0.3"))


@given(limit=st.integers(1, 10**9), over=st.integers(1, 10**6))
def test_a_size_above_its_limit_never_looks_equal_to_it(limit: int, over: int) -> None:
    measured, shown = numbers.beside_limit("size_bytes", limit + over, limit, "")
    assert measured != shown


@given(low=st.floats(1e-4, 1e3), span=st.floats(1.01, 1e4), count=st.integers(2, 10), log=st.booleans())
def test_ticks_lie_on_the_axis_and_are_not_too_many(low: float, span: float, count: int, log: bool) -> None:
    found = ticks(low, low * span, count, log)
    assert found == sorted(found)
    assert len(found) <= 2 * count + 2
    assert all(low * (1 - 1e-6) <= tick <= low * span * (1 + 1e-6) for tick in found)


def test_a_scale_keeps_what_is_outside_on_its_edge() -> None:
    scale = Scale(1.0, 100.0, 0.0, 200.0, log=True)
    assert [scale(value) for value in (0.1, 1, 10, 100, 1e6)] == pytest.approx([0, 0, 100, 200, 200])


def test_bars_are_linear_until_small_layers_would_vanish() -> None:
    assert not LayerBars([100, 20_000]).log
    assert 'width="0.50%"' in LayerBars([100, 20_000]).draw(None, 100, "")
    wide = LayerBars([100, 1_000_000])
    assert wide.log
    # from the decade below half of the smallest, 10, to the largest: five decades
    assert 'width="20.00%"' in wide.draw(None, 100, "")
    assert 'width="100.00%"' in wide.draw(None, 1_000_000, "")


@settings(deadline=None)  # two cores are shared with what else runs
@given(st.lists(st.tuples(st.sampled_from(["cut", "distill", "quantize"]), st.integers(1, 30)), min_size=1, max_size=8))
def test_phase_names_never_run_into_each_other(phases: list[tuple[str, int]]) -> None:
    epochs = [
        Epoch(f"{name} {number}/{len(phases)}", 1.0, 50.0)
        for number, (name, count) in enumerate(phases, start=1)
        for _ in range(count)
    ]
    figure = score_figure(epochs, None, "accuracy", "%")
    for drawing in (figure.wide, figure.narrow):
        page = read(drawing)
        texts = [attributes for tag, attributes in page.tags if tag == "text"]
        placed = [
            (float(attributes["y"]), float(attributes["x"]), float(attributes["x"]) + CHARACTER * len(text))
            for attributes, text in zip(texts, page.cells["text"], strict=True)
            if "/" in text
        ]
        assert len(placed) == len(phases)
        for number, (row, start, end) in enumerate(placed):
            others = placed[:number] + placed[number + 1 :]
            assert not [other for other in others if other[0] == row and other[1] < end and start < other[2]]
