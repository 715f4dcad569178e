from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiledistill.devices._statistics import _student, bootstrap, drift, interval, percentile, percentile_interval


@pytest.mark.parametrize("processes", [5, 10])
def test_interval_covers_the_true_median_about_as_often_as_it_says(processes: int) -> None:
    random = np.random.default_rng(1)
    covered = narrow = 0
    for seed in range(100):
        shift = 1 + 0.02 * random.standard_normal((processes, 1))
        samples = (shift + 0.02 * random.standard_normal((processes, 20))).tolist()
        replicates = bootstrap(samples, 50, seed=seed)
        low, high = interval(replicates, processes)
        covered += low <= 1 <= high
        within = 1.96 * 0.02 * np.sqrt(1 / processes + 1 / (processes * 20))
        narrow += high - low < 4 * within
    assert covered >= 0.90 * 100
    assert narrow >= 0.90 * 100  # not by being endless


def test_processes_are_resampled_and_not_only_samples() -> None:
    samples = [[1.0] * 200, [1.0] * 200, [1.0] * 200, [1.2] * 200, [1.2] * 200]
    assert percentile_interval(samples, 50) == (1.0, 1.2)


def test_ragged_processes_draw_each_from_its_own_samples() -> None:
    replicates = bootstrap([[1.0] * 3, [2.0] * 50], 50)
    assert set(np.unique(replicates)) <= {1.0, 1.5, 2.0}


def test_percentile_of_a_normal_is_found() -> None:
    samples = np.random.default_rng(0).standard_normal((5, 4000)).tolist()
    assert percentile(samples, 90) == pytest.approx(NormalDist().inv_cdf(0.9), abs=0.05)


def test_same_samples_give_the_same_interval() -> None:
    samples = np.random.default_rng(0).random((5, 40)).tolist()
    assert percentile_interval(samples, 90) == percentile_interval(samples, 90)


@pytest.mark.parametrize(
    ("freedom", "table"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093)]
)
def test_student_quantile_matches_the_printed_table(freedom: int, table: float) -> None:
    assert _student(freedom) == pytest.approx(table, rel=0.01)


@given(st.floats(0.5, 2.0), st.integers(1, 6), st.integers(3, 40))
def test_drift_reads_the_change_from_first_to_last_third(factor: float, processes: int, count: int) -> None:
    length = processes * count
    values = [1.0] * (length - length // 3) + [factor] * (length // 3)
    samples = [values[start : start + count] for start in range(0, length, count)]
    assert drift(samples) == pytest.approx(factor - 1, abs=1e-6)
