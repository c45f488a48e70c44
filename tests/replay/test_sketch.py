"""Sums and quantiles at constant memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang.replay.sketch import Moments, Sketch, student, wilson

NUMBERS = st.lists(st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-9), min_size=1, max_size=80)


@given(NUMBERS, st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]), st.integers(0, 80))
def test_a_quantile_is_right_within_one_percent(numbers: list[float], share: float, cut: int) -> None:
    sketch = Sketch()
    for part in (numbers[:cut], numbers[cut:]):
        sketch.add(np.array(part, float))
    exact = sorted(numbers)[int(share * (len(numbers) - 1))]
    assert sketch.count == len(numbers)
    assert sketch.quantile(share) == pytest.approx(exact, rel=0.0101)


@given(NUMBERS, st.integers(0, 80))
def test_moments_of_parts_are_those_of_the_whole(numbers: list[float], cut: int) -> None:
    moments = Moments()
    for part in (numbers[:cut], numbers[cut:]):
        moments.add(np.array(part, float))
    assert moments.mean == pytest.approx(np.mean(numbers), rel=1e-9, abs=1e-6)
    if len(numbers) > 1:
        margin = student(len(numbers) - 1) * np.std(numbers, ddof=1) / len(numbers) ** 0.5
        assert moments.margin == pytest.approx(margin, rel=1e-6, abs=1e-6)


def test_the_sketch_does_not_grow_with_its_numbers() -> None:
    sketch = Sketch()
    for seed in range(20):
        sketch.add(np.random.default_rng(seed).lognormal(0, 2, 50_000))
    assert sketch.count == 1_000_000
    assert len(sketch.positive) < 1200


@pytest.mark.parametrize(("degrees", "value"), [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042)])
def test_students_quantile_is_that_of_the_tables(degrees: int, value: float) -> None:
    assert student(degrees) == pytest.approx(value, abs=0.004)


def test_an_empty_stream_has_no_quantile_and_one_number_no_interval() -> None:
    assert Sketch().quantile(0.5) is None
    one = Moments()
    one.add(np.array([2.0]))
    assert one.document() == {"mean": 2.0, "interval": None}


def test_a_share_has_wilsons_interval() -> None:
    assert wilson(10, 20) == pytest.approx([0.2993, 0.7007], abs=1e-4)
    assert wilson(0, 100) == pytest.approx([0, 0.03699], abs=1e-4)
    assert wilson(0, 0) is None
