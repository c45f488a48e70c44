"""E-values: what they are, that they are exact, and how soon they speak."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang.rollout.evidence import log_average, log_evidence, log_excess, log_mismatch


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.05, 0.95))
def test_evidence_is_the_likelihood_under_a_mixture_over_that_under_the_rate(
    hits: int, misses: int, rate: float
) -> None:
    weight = 20.0
    grid = (np.arange(50_000) + 0.5) / 50_000
    prior = grid ** (weight * rate - 1) * (1 - grid) ** (weight * (1 - rate) - 1)
    mixed = (prior * (grid / rate) ** hits * ((1 - grid) / (1 - rate)) ** misses).sum() / prior.sum()
    assert float(log_evidence(hits, hits + misses, rate, weight)) == pytest.approx(math.log(mixed), abs=0.02)


@given(st.integers(0, 12), st.floats(0.02, 0.98))
def test_the_mean_of_an_e_value_is_one(rows: int, rate: float) -> None:
    hits = np.arange(rows + 1)
    chance = np.array([math.comb(rows, hit) * rate**hit * (1 - rate) ** (rows - hit) for hit in hits])
    assert float((np.exp(log_evidence(hits, rows, rate)) * chance).sum()) == pytest.approx(1.0)


@given(st.floats(0.05, 0.95), st.integers(1, 60))
def test_evidence_of_an_excess_grows_with_every_hit(rate: float, rows: int) -> None:
    """Then it is as rare as stated for every lower rate, too: fewer hits give less of it."""
    strong = log_excess(np.arange(rows + 1), rows, rate)
    above = strong[np.isfinite(strong)]
    assert (np.diff(above) >= -1e-9).all()


def test_a_side_that_fails_every_row_is_found_after_so_many_rows() -> None:
    def rows_until(rate: float) -> int:
        return next(n for n in range(1, 1000) if log_excess(n, n, rate) >= math.log(1000))

    assert (rows_until(0.5), rows_until(0.1)) == (14, 6)


def test_a_ratio_of_arms_is_judged_alike_by_two_arms_and_by_many() -> None:
    two = log_mismatch([60, 40], [0.5, 0.5], 200)
    assert float(two) == pytest.approx(float(log_evidence(40, 100, 0.5, 200)))
    many = log_mismatch([[400, 300, 300], [334, 333, 333]], [1, 1, 1])
    assert many[0] > 0 > many[1]


def test_the_mean_of_e_values_is_taken_of_themselves() -> None:
    assert log_average(np.log([1.0, 3.0])) == pytest.approx(math.log(2))
    assert log_average(np.array([-np.inf, -np.inf])) == -np.inf
    assert log_average(np.array([5000.0, -np.inf])) == pytest.approx(5000 - math.log(2))
