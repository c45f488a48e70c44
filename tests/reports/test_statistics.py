"""The statistics against values that are known, and against simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hansang.reports import statistics
from hansang.reports.features import Side, binned
from hansang.reports.metrics import TASKS, judge
from hansang.reports.null import Null


def side(values: np.ndarray, days: int = 1) -> Side:
    missing = np.zeros(len(values), np.bool_)
    return Side(values, missing, np.arange(len(values)) * days // max(len(values), 1), days)


def test_the_stability_index_is_nothing_for_equal_shares_and_known_for_others() -> None:
    assert float(statistics.psi(np.array([10, 20]), np.array([1000, 2000]))) == pytest.approx(0, abs=1e-3)
    expected = 0.3 * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    many = 10**9
    assert float(statistics.psi(np.array([many, many]), np.array([8 * many, 2 * many]))) == pytest.approx(expected)


def test_values_that_moved_by_a_standard_deviation_moved_by_one() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    assert statistics.wasserstein(values, values + values.std()) == pytest.approx(1.0)
    assert np.isnan(statistics.wasserstein(np.ones(9), values))


def test_holm_adjusts_as_in_its_paper() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(0, 10, 0.0, 0.277533), (3, 40, 0.025836, 0.198642), (500, 1000, 0.46907, 0.53093), (7, 7, 0.64567, 1.0)],
)
def test_wilson_is_the_interval_of_the_tables(hits: int, rows: int, low: float, high: float) -> None:
    assert statistics.wilson(hits, rows) == pytest.approx((low, high), abs=1e-6)


def test_exceedances_are_as_frequent_as_their_chance_says() -> None:
    random = np.random.default_rng(2)
    old, new = random.random((20_000, 30)), random.random((20_000, 10))
    beyond = (new > old.max(1, keepdims=True)).sum(1)
    for number in (1, 2, 3):
        share = float((beyond >= number).mean())
        assert statistics.exceedance(number, 10, 30) == pytest.approx(share, abs=0.01)
    assert statistics.exceedance(0, 10, 30) == 1.0


def test_the_area_under_the_curve_is_that_of_all_pairs() -> None:
    random = np.random.default_rng(3)
    yes, no = random.integers(0, 10, 200), random.integers(0, 7, 300)
    area = statistics.auc(np.bincount(yes, minlength=10), np.bincount(no, minlength=10))
    exact = (yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2
    assert float(area) == pytest.approx(exact)
    assert np.isnan(statistics.auc(np.zeros(3), np.ones(3)))


def test_intervals_of_the_mean_error_hold_the_truth_as_often_as_they_say() -> None:
    """Days differ from each other more than rows of a day do: an interval that took rows for independent would fail."""
    random = np.random.default_rng(4)
    rounds, days, rows = 80, 30, 24
    held = 0
    for number in range(rounds):
        errors = random.normal(size=(days, 1)) + random.normal(size=(days, rows)) + 5
        zero = np.zeros(days)
        sums = np.column_stack([zero + rows, abs(errors).sum(1), errors.sum(1), (errors**2).sum(1), zero, zero])
        _, low, high = judge(TASKS["regression"], sums, (number % 5, 0)).metrics["bias"]
        held += low <= 5 <= high
    assert 0.87 <= held / rounds <= 1.0


@pytest.mark.parametrize("shape", ["normal", "lognormal", "few values"])
@pytest.mark.parametrize("rows", [60, 1000])
def test_the_null_of_a_feature_holds_its_rate_for_every_shape_and_size(shape: str, rows: int) -> None:
    """Where fixed thresholds have false alarms of 40 % and more: see skewed features and few rows."""
    random = np.random.default_rng(5)
    shapes: dict[str, Callable[[int], Any]] = {
        "normal": lambda n: random.normal(size=n),
        "lognormal": lambda n: random.lognormal(sigma=2, size=n),
        "few values": lambda n: random.integers(0, 3, n).astype(float),
    }
    draw = shapes[shape]
    rounds, found = 60, 0
    for number in range(rounds):
        bins = binned(side(draw(2000), 20), side(draw(rows), 5))
        null = Null((20, 5), tests=1, alpha=0.05, seed=number % 3)
        found += null.measure(bins.reference, bins.current).p <= 0.05
    assert found / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5


def test_the_null_finds_a_shift_of_a_fifth_of_a_deviation_in_enough_rows() -> None:
    random = np.random.default_rng(6)
    bins = binned(side(random.normal(size=20_000), 20), side(random.normal(size=5000) + 0.2, 5))
    measured = Null((20, 5), tests=30, alpha=0.01).measure(bins.reference, bins.current)
    assert measured.p * 30 <= 0.01
    assert measured.score > measured.threshold


def test_days_that_differ_among_themselves_are_no_drift() -> None:
    """Taken row by row, four of five windows of seven such days would be an alarm."""
    random = np.random.default_rng(7)
    rounds, by_day, by_row = 40, 0, 0
    for _ in range(rounds):
        old, new = (np.repeat(random.normal(size=days), 50) + random.normal(size=days * 50) for days in (28, 7))
        bins = binned(side(old, 28), side(new, 7))
        by_day += Null((28, 7), tests=1, alpha=0.05).measure(bins.reference, bins.current).p <= 0.05
        by_row += Null((1, 7), tests=1, alpha=0.05).measure(bins.reference, bins.current).p <= 0.05
    assert by_day / rounds <= 0.15
    assert by_row / rounds >= 0.5
