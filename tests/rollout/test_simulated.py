"""What is stated of errors and samples, in simulated experiments judged at every look; all of it in `benchmarks/`."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansang.rollout.metric import Metric, accuracy
from hansang.rollout.plan import plan, plan_pairs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ALPHA, RUNS = 0.05, 2000
RATE = accuracy(effect=0.02)
NUMBER = Metric("number", "1")
TIME = Metric("time", "1", "lower", scale="ratio")


@pytest.fixture
def simulations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("simulations")
    del sys.modules["simulations"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261124)


def chance_of_so_few(count: int, runs: int, rate: float) -> float:
    """The exact chance of at most so many in a binomial distribution."""

    def one(hits: int) -> float:
        ways = math.lgamma(runs + 1) - math.lgamma(hits + 1) - math.lgamma(runs - hits + 1)
        return math.exp(ways + hits * math.log(rate) + (runs - hits) * math.log1p(-rate))

    return math.fsum(map(one, range(count + 1)))


def is_surely_below(share: float, runs: int, rate: float) -> bool:
    """Whether runs of this rate would give so small a share less than once in a thousand times."""
    return chance_of_so_few(round(share * runs), runs, rate) < 0.001


@pytest.mark.parametrize("split", [0.5, 0.1])
@pytest.mark.parametrize("rate", [0.8, 0.1, 0.01])
def test_equal_rates_get_a_false_verdict_in_less_than_five_percent(
    simulations: Any, rng: np.random.Generator, rate: float, split: float
) -> None:
    for metric in (RATE, accuracy()):
        said = simulations.rates(rng, RUNS, 300, (rate, rate), metric, split)
        assert is_surely_below(said.share("better", "worse"), RUNS, ALPHA)


@pytest.mark.parametrize(
    ("pair", "split"), [((0.8, 0.82), 0.5), ((0.8, 0.7), 0.1), ((0.01, 0.03), 0.1), ((0.03, 0.01), 0.1)]
)
def test_the_interval_holds_a_true_difference_at_all_looks_in_more_than_ninety_five_percent(
    simulations: Any, rng: np.random.Generator, pair: tuple[float, float], split: float
) -> None:
    for metric in (RATE, accuracy()):
        missed = simulations.misses(rng, 2 * RUNS, 300, pair, metric, split)
        assert is_surely_below(missed, 2 * RUNS, ALPHA)
    assert simulations.misses(rng, RUNS, 300, pair, RATE, split, ALPHA / 5) <= ALPHA / 5


def test_a_gain_of_two_points_is_found_within_the_plan_and_by_a_shadow_in_half_of_it(
    simulations: Any, rng: np.random.Generator
) -> None:
    planned = plan(0.8, 0.02).total
    said = simulations.rates(rng, RUNS, math.ceil(planned / 100), (0.8, 0.82), RATE)
    assert is_surely_below(1 - said.share("better"), RUNS, 0.1)
    for disagreement in (0.05, 0.12, 0.31):
        pairs = plan_pairs(0.02, disagreement=disagreement).total
        assert pairs <= planned / 2
        said = simulations.pairs(rng, RUNS, math.ceil(pairs / 100), disagreement, 0.02, RATE)
        assert is_surely_below(1 - said.share("better"), RUNS, 0.1)


@pytest.mark.parametrize("disagreement", [0.003, 0.01, 0.12])
def test_equal_sides_of_a_shadow_get_a_false_verdict_in_less_than_five_percent(
    simulations: Any, rng: np.random.Generator, disagreement: float
) -> None:
    said = simulations.pairs(rng, RUNS, 300, disagreement, 0.0, RATE)
    assert is_surely_below(said.share("better", "worse"), RUNS, ALPHA)


def test_a_challenger_that_is_worse_by_the_margin_is_called_no_worse_in_less_than_five_percent(
    simulations: Any, rng: np.random.Generator
) -> None:
    said = simulations.rates(rng, RUNS, 300, (0.8, 0.78), accuracy(margin=0.02, effect=0.02))
    assert is_surely_below(said.share("better", "no worse"), RUNS, ALPHA)
    same = simulations.rates(rng, RUNS, 300, (0.8, 0.8), accuracy(margin=0.02, effect=0.02))
    assert same.share("no worse") > 0.85


@pytest.mark.parametrize("split", [0.5, 0.1])
def test_heavy_tails_get_a_false_verdict_in_less_than_five_percent(
    simulations: Any, rng: np.random.Generator, split: float
) -> None:
    runs, looks = 600, 60
    for metric in (NUMBER, TIME):
        said = simulations.numbers(rng, runs, looks, lambda r, size: r.lognormal(0, 2, size), metric, split)
        assert is_surely_below(said.share("better", "worse"), runs, ALPHA)


def test_busy_users_mislead_whoever_counts_requests_but_not_who_counts_keys(
    simulations: Any, rng: np.random.Generator
) -> None:
    runs, looks = 300, 40
    keyed = simulations.users(rng, runs, looks, accuracy(), 400)
    assert is_surely_below(keyed.share("better", "worse"), runs, ALPHA)
    assert simulations.users(rng, runs, looks, accuracy(), 400, by_key=False).share("better", "worse") > 0.1


def test_neighbours_that_resemble_each_other_are_one_unit_of_a_shadow(
    simulations: Any, rng: np.random.Generator
) -> None:
    metric = Metric("number", "1", effect=0.2)
    blocks = simulations.waves(rng, 400, 120, metric, 0.8, 50)
    assert is_surely_below(blocks.share("better", "worse"), 400, ALPHA)
    assert simulations.waves(rng, 100, 120, metric, 0.8, 1).share("better", "worse") > 0.5


def test_three_metrics_together_get_a_false_verdict_in_less_than_five_percent(
    simulations: Any, rng: np.random.Generator
) -> None:
    said = simulations.families(rng, RUNS, 200, 0.8, accuracy(), 3)
    assert is_surely_below(said.share("better", "worse"), RUNS, ALPHA)


def test_shares_that_are_as_planned_are_hardly_ever_called_a_mismatch(
    simulations: Any, rng: np.random.Generator
) -> None:
    for planned, real in ((0.5, 0.55), (0.1, 0.12)):
        sound = simulations.mismatches(rng, RUNS, 200, planned, planned)
        assert np.isfinite(sound).sum() <= 10  # a chance of 0.001 each: more than 10 of 2,000 would be one in 10⁵
        assert np.isfinite(simulations.mismatches(rng, 400, 200, planned, real)).mean() > 0.99


def test_a_guard_on_a_rate_fails_a_sound_challenger_as_seldom_as_is_stated(
    simulations: Any, rng: np.random.Generator
) -> None:
    for limit in (0.5, 0.1):
        alarms = np.isfinite(simulations.excesses(rng, 1000, 300, limit, limit, 0.01)).mean()
        assert is_surely_below(alarms, 1000, 0.025)
        lower = np.isfinite(simulations.excesses(rng, 1000, 300, limit, limit * 0.9, 0.01)).mean()
        assert lower <= alarms
