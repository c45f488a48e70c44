from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang.models.cost import Cost

seconds = st.floats(1e-6, 10.0)
two_sizes = st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda sizes: len(set(sizes)) > 1)
calls = st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.0, 100.0)), max_size=60)


def learned(per_row: float, per_call: float, sizes: list[int], noise: float = 0.0) -> Cost:
    cost, dice = Cost(), random.Random(5)
    for rows in sizes:
        cost.observe(rows, (per_row * rows + per_call) * (1 + noise * (dice.random() - 0.5)))
    return cost


@given(seconds, seconds, two_sizes)
def test_a_straight_line_is_learned_exactly(per_row: float, per_call: float, sizes: list[int]) -> None:
    cost = learned(per_row, per_call, [1, *sizes])
    for rows in (min(sizes), max(sizes)):
        assert cost.predict(rows) == pytest.approx(per_row * rows + per_call, rel=1e-3)


@given(calls)
def test_a_forecast_is_never_negative_and_never_falls_with_more_rows(observed: list[tuple[int, float]]) -> None:
    cost = Cost()
    for rows, duration in observed:
        cost.observe(rows, duration)
    assert cost.per_row >= 0.0 and cost.per_call >= 0.0
    assert 0.0 <= cost.predict(1) <= cost.predict(10) <= cost.predict(10_000)


@given(calls, st.integers(1, 1000))
def test_the_largest_batch_that_pays_is_between_one_and_the_limit(observed: list[tuple[int, float]], most: int) -> None:
    cost = Cost()
    for rows, duration in observed:
        cost.observe(rows, duration)
    assert 1 <= cost.worthwhile(most) <= most


def test_a_noisy_line_is_learned_well_enough_to_forecast_with() -> None:
    cost = learned(0.0005, 0.05, [1, 4, 16, 32, 8, 2] * 20, noise=0.2)
    assert cost.predict(32) == pytest.approx(0.066, rel=0.1)
    assert cost.predict(1) == pytest.approx(0.0505, rel=0.1)


def test_a_model_that_becomes_slower_is_followed() -> None:
    cost = learned(0.001, 0.01, [1, 8, 32] * 50)
    for rows in [1, 8, 32] * 120:
        cost.observe(rows, 0.002 * rows + 0.02)
    assert cost.predict(32) == pytest.approx(0.084, rel=0.1)


def test_the_first_call_is_not_like_the_others_and_is_forgotten() -> None:
    cost = learned(0.001, 0.01, [1])
    cost.observe(1, 9.0)
    assert cost.predict(1) == pytest.approx(9.0)
    cold = Cost()
    cold.observe(1, 9.0)
    for rows in (1, 8, 32):
        cold.observe(rows, 0.001 * rows + 0.01)
    assert cold.predict(8) == pytest.approx(0.018)


def test_with_calls_of_one_size_the_whole_time_is_per_call() -> None:
    cost = learned(0.001, 0.01, [16] * 20)
    assert cost.per_row == 0.0 and cost.per_call == pytest.approx(0.026)


def test_a_new_line_forecasts_nothing_and_takes_all() -> None:
    assert Cost().predict(100) == 0.0
    assert Cost().worthwhile(64) == 64


@pytest.mark.parametrize(
    ("per_row", "per_call", "rows"),
    [(0.01, 0.0, 1), (0.01, 0.0001, 1), (0.01, 0.01, 19), (0.0005, 0.05, 64), (0.0, 0.05, 64)],
)
def test_batches_end_where_less_than_a_twentieth_of_the_time_is_shared(
    per_row: float, per_call: float, rows: int
) -> None:
    assert learned(per_row, per_call, [1, 2, 4, 8, 16, 32, 64, 1, 2]).worthwhile(64) == rows
