"""The verdict on plain arrays: effect, interval, one word, and how many more rows it needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang.errors import UsageError
from hansang.rollout.arm import Arm
from hansang.rollout.metric import Metric, absolute_error, accuracy, latency
from hansang.rollout.plan import plan, plan_pairs
from hansang.rollout.sequence import boundary, needed, tuning
from hansang.rollout.verdict import decide, judge

RATE = accuracy()


def hits(rows: int, right: int) -> Arm:
    return Arm.of_rows(float(rows), float(right), float(right))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-100, 100)), min_size=2, max_size=60))
def test_the_variance_of_a_mean_over_keys_is_that_of_the_delta_method(rows: list[tuple[int, float]]) -> None:
    keys, values = (np.array(column) for column in zip(*rows, strict=True))
    arm = Arm.of(values, keys)
    units = [(values[keys == key].sum(), (keys == key).sum()) for key in np.unique(keys)]
    totals, counts = np.array(units, float).T
    assert arm.mean == pytest.approx(totals.sum() / counts.sum())
    if len(units) > 1:
        influence = (totals - arm.mean * counts) / counts.mean()
        assert arm.variance() == pytest.approx(influence.var(ddof=1) / len(units), abs=1e-9, rel=1e-6)


def test_every_row_its_own_key_is_the_variance_of_the_plain_mean() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    expected = values.var(ddof=1) / 400
    assert Arm.of(values).variance() == pytest.approx(expected)
    assert Arm.of(values, np.arange(400)).variance() == pytest.approx(expected)


def test_a_rate_that_was_never_seen_has_a_variance_all_the_same() -> None:
    arm = hits(100, 0)
    rate = 1 / 102
    assert arm.variance((0, 1)) == pytest.approx(rate * (1 - rate) / 100)
    assert arm.variance() == 0


@given(st.integers(100, 10**6), st.floats(1e-4, 10.0), st.sampled_from([0.05, 0.01, 0.05 / 7]))
def test_the_half_width_is_that_of_the_paper(units: int, variance: float, alpha: float) -> None:
    """Equation 3 of Waudby-Smith and others (2024), for a mean of this many units with this variance of a unit."""
    planned = 10_000
    rho2 = tuning(alpha) / planned
    paper = np.sqrt(variance) * np.sqrt(
        2 * (units * rho2 + 1) / (units**2 * rho2) * np.log(np.sqrt(units * rho2 + 1) / alpha)
    )
    assert boundary(units / planned, alpha) * np.sqrt(variance / units) == pytest.approx(paper)


def test_the_boundary_is_lowest_about_the_plan() -> None:
    parts = np.array([0.05, 0.5, 1.0, 2.0, 20.0])
    assert boundary(1.0, 0.05) == pytest.approx(3.035, abs=0.001)
    relative = boundary(parts, 0.05) / np.sqrt(parts)
    assert (np.diff(relative) < 0).all()
    tuned = min(np.geomspace(0.2, 5, 41), key=lambda part: float(boundary(part, 0.05)))
    assert boundary(1.0, 0.05) < 1.05 * boundary(tuned, 0.05)


def test_the_words_follow_from_the_interval_and_the_margin() -> None:
    low = np.array([0.1, -0.01, -0.3, -0.01, -0.2])
    high = np.array([0.2, 0.1, -0.1, -0.005, 0.2])
    assert decide(low, high, 0.02).tolist() == ["better", "no worse", "worse", "no worse", "undecided"]
    assert decide(low, high).tolist() == ["better", "undecided", "worse", "worse", "undecided"]


def test_a_clear_gain_is_better_and_a_clear_loss_is_worse() -> None:
    assert str(judge(RATE, hits(5000, 4000), hits(5000, 4500))) == "better"
    assert str(judge(RATE, hits(5000, 4500), hits(5000, 4000))) == "worse"
    lower = Metric("errors", "1", "lower", bounds=(0, 1))
    assert str(judge(lower, hits(5000, 4000), hits(5000, 4500))) == "worse"


def test_nothing_is_said_of_fewer_than_a_hundred_units_an_arm() -> None:
    said = judge(RATE, hits(5000, 0), hits(99, 99))
    assert (said.word, said.high) == ("undecided", np.inf)
    assert str(judge(RATE, hits(5000, 0), hits(100, 100))) == "better"
    assert str(judge(RATE, hits(0, 0), hits(0, 0))) == "undecided (no rows with a value yet)"
    assert str(judge(RATE, hits(10, 5), hits(0, 0))) == "undecided (one arm has no rows yet)"


def test_the_forecast_is_what_the_verdict_then_needs() -> None:
    said = judge(RATE, hits(2000, 1600), hits(2000, 1640))
    assert said.word == "undecided" and said.more is not None
    assert str(said) == f"undecided (about {said.more:,} more)"
    factor = (said.more + 4000) / 4000

    def later(part: float) -> str:
        grown = factor * part
        return judge(RATE, hits(int(2000 * grown), int(1600 * grown)), hits(int(2000 * grown), int(1640 * grown))).word

    assert (later(0.97), later(1.03)) == ("undecided", "better")


def test_where_there_is_no_difference_no_number_is_told_without_a_margin() -> None:
    assert str(judge(RATE, hits(1000, 800), hits(1000, 800))) == "undecided (no difference in sight)"
    said = judge(accuracy(margin=0.02), hits(1000, 800), hits(1000, 800))
    assert said.word == "undecided" and said.more is not None
    more = said.more // 2 + 5
    grown = hits(1000 + more, (1000 + more) * 4 // 5)
    assert judge(accuracy(margin=0.02), grown, grown).word == "no worse"


def test_the_forecast_knows_that_a_rate_of_nothing_gets_ever_surer() -> None:
    metric = Metric("failures", "1", "lower", margin=0.01, bounds=(0, 1))
    said = judge(metric, hits(400, 0), hits(400, 0), hits(400, 0))
    assert said.word == "undecided" and said.more is not None
    arms = [hits(400 + int(said.more * part), 0) for part in (0.95, 1.05)]
    words = [judge(metric, arm, arm, arm).word for arm in arms]
    assert words == ["undecided", "no worse"]


def test_pairs_decide_where_the_same_numbers_unpaired_do_not() -> None:
    rng = np.random.default_rng(4)
    ease = rng.normal(size=2000)
    one, two = ease + rng.normal(0, 0.1, 2000), ease - 0.05 + rng.normal(0, 0.1, 2000)
    metric = absolute_error()
    assert judge(metric, Arm.of(one), Arm.of(two), Arm.of(two - one)).word == "better"
    assert judge(metric, Arm.of(one), Arm.of(two)).word == "undecided"


def test_a_ratio_is_told_as_a_relative_change() -> None:
    rng = np.random.default_rng(5)
    one, two = np.log(rng.lognormal(1, 1, 20_000)), np.log(1.5 * rng.lognormal(1, 1, 20_000))
    said = judge(latency(margin=0.1), Arm.of(one), Arm.of(two))
    assert said.word == "worse"
    assert said.low < 0.5 < said.high
    assert said.challenger / said.champion - 1 == pytest.approx(said.effect)
    assert judge(latency(margin=0.1), Arm.of(one), Arm.of(one)).word == "no worse"


def test_an_interval_for_more_metrics_is_wider() -> None:
    one = judge(RATE, hits(1000, 500), hits(1000, 520))
    four = judge(RATE, hits(1000, 500), hits(1000, 520), alpha=0.05 / 4)
    assert four.high - four.low > one.high - one.low


def test_a_plan_grows_with_power_and_metrics_and_with_an_uneven_split() -> None:
    half = plan(0.8, 0.02)
    assert half.champion == half.challenger == half.total / 2
    assert half.total == 29_238
    assert plan(0.8, 0.02, power=0.95).total > half.total
    assert plan(0.8, 0.02, metrics=3).total > half.total
    tenth = plan(0.8, 0.02, split=0.1)
    assert tenth.challenger == pytest.approx(tenth.total / 10, abs=1)
    assert tenth.total > 2 * half.total
    assert plan(0.5, 0.4).total == 200
    assert plan(0, 1.0, deviation=20).total == pytest.approx(4 * 400 * needed(0.05, 0.9), abs=2)


def test_a_shadow_needs_at_most_half_of_what_a_split_needs() -> None:
    split = plan(0.8, 0.02).total
    chance = 0.8 * (1 - 0.82) + 0.82 * (1 - 0.8)  # sides that are right independently of each other: the worst case
    assert plan_pairs(0.02, disagreement=chance).total <= split / 2
    assert plan_pairs(0.02, disagreement=0.1).total <= split / 6


def test_plans_of_nothing_are_refused() -> None:
    for baseline, effect, split, says in (
        (0.8, 0.0, 0.5, "effect is 0"),
        (0.9, 0.2, 0.5, "no rates"),
        (0.8, 0.1, 1, "split is 1"),
    ):
        with pytest.raises(UsageError, match=f"plan: .*{says}"):
            plan(baseline, effect, split=split)
    with pytest.raises(UsageError, match="either disagreement"):
        plan_pairs(0.02)
    with pytest.raises(UsageError, match="a disagreement of 0.01 allows no effect of 0.02"):
        plan_pairs(0.02, disagreement=0.01)
    with pytest.raises(UsageError, match="power and alpha"):
        plan(0.8, 0.02, power=1.0)


def test_metrics_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="better is 'up'; give 'higher' or 'lower'"):
        Metric("m", "1", "up")  # type: ignore[arg-type]  # what a caller without types may write
    with pytest.raises(UsageError, match="margin and effect are sizes"):
        Metric("m", "1", margin=-0.1)
    with pytest.raises(UsageError, match="a ratio has no bounds"):
        Metric("m", "1", scale="ratio", bounds=(0, 1))
