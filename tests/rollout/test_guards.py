"""Guards: what they catch, after how many rows, and what they let pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansang.errors import RecordError, UsageError
from hansang.rollout.arms import Arms, Shadow, Split, read_arms
from hansang.rollout.finding import ask
from hansang.rollout.guards import Disagreement, Drift, Errors, Guard, Latency, Quality, default_guards
from hansang.rollout.metric import absolute_error
from tests.rollout.making import LIVE, SHADOW, answers, write
from tests.rollout.tables import arms_of, side

OLD, NEW = replace(LIVE, variant="old"), replace(LIVE, variant="new")
GUARDS: tuple[Guard, ...] = (Errors(), Latency(), Drift())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261124)


def split(share: float, champion: int, challenger: int, old: dict[str, Any], new: dict[str, Any]) -> Arms:
    """A split whose challenger's rows come among the champion's."""
    times = np.linspace(0, 1000, challenger) + 0.001
    return arms_of(
        side("champion", champion, time=np.linspace(0, 1000, champion), **old),
        side("challenger", challenger, champion, time=times, **new),
        share=share,
    )


def states(arms: Arms) -> dict[str, str]:
    return {guard.name: guard.check(arms).state for guard in GUARDS}


@pytest.mark.parametrize("share", [0.5, 0.1, None])
def test_a_challenger_like_the_champion_passes_every_guard(rng: np.random.Generator, share: float | None) -> None:
    def like(rows: int) -> dict[str, Any]:
        failed = np.where(rng.random(rows) < 0.02, 500, 200)
        return {"output_value": rng.normal(size=rows), "latency_ms": rng.lognormal(0, 1, rows), "status": failed}

    if share is None:
        arms = arms_of(side("champion", 1000, **like(1000)), side("challenger", 1000, **like(1000)))
    else:
        rows = int(4000 * share)
        arms = split(share, 4000 - rows, rows, like(4000 - rows), like(rows))
    assert states(arms) == {"errors": "pass", "latency": "pass", "drift": "pass"}


def test_a_challenger_that_raises_fails_after_fourteen_rows_and_in_a_tenth_after_six() -> None:
    for share, champion, rows in ((0.5, 14, 14), (0.1, 54, 6)):
        new = {"status": np.full(rows, 500)}
        finding = Errors().check(split(share, champion, rows, {}, new))
        assert finding.state == "fail"
        assert f"100.00% of {rows} rows failed, of the champion's {champion} 0.00%" in finding.why
        fewer = {"status": np.full(rows - 1, 500)}
        assert Errors().check(split(share, champion, rows - 1, {}, fewer)).state == "not enough"
    pairs = arms_of(side("champion", 14), side("challenger", 14, status=np.full(14, 500)))
    assert Errors().check(pairs).state == "fail"


def test_a_key_that_fails_again_and_again_counts_once() -> None:
    unit, status = np.repeat(["kim", "lee"], [50, 150]), np.repeat([500, 200], [50, 150])
    arms = split(0.5, 200, 200, {}, {"unit": unit, "status": status})
    assert Errors().check(arms).state == "pass"


def test_faults_of_the_champion_are_not_the_challengers(rng: np.random.Generator) -> None:
    status = np.where(rng.random(300) < 0.5, 500, 200)
    both = arms_of(side("champion", 300, status=status), side("challenger", 300, status=status))
    assert Errors().check(both).state == "pass"
    assert Errors().check(arms_of(side("champion", 300, status=status), side("challenger", 300))).state == "pass"


def test_a_challenger_with_few_more_faults_than_are_allowed_for_passes(rng: np.random.Generator) -> None:
    status = np.where(np.arange(10_000) % 200 == 0, 500, 200)
    arms = split(0.5, 10_000, 10_000, {}, {"status": status})
    assert Errors().check(arms).state == "pass"
    assert Errors(more=0.001).check(arms).state == "fail"


def test_a_challenger_five_times_slower_fails_after_few_rows(rng: np.random.Generator) -> None:
    for share, champion, rows in ((0.5, 30, 30), (0.1, 135, 15)):
        old = {"latency_ms": rng.lognormal(0, 0.3, champion)}
        finding = Latency().check(split(share, champion, rows, old, {"latency_ms": 5 * rng.lognormal(0, 0.3, rows)}))
        assert finding.state == "fail", finding
        assert "the limit is 1.5 times that" in finding.why
    pairs = arms_of(side("champion", 20), side("challenger", 20, latency_ms=np.full(20, 10.0)))
    assert Latency().check(pairs).state == "fail"


def test_a_challenger_slower_than_allowed_for_in_the_middle_only_passes(rng: np.random.Generator) -> None:
    old = np.where(rng.random(1000) < 0.1, 100.0, 1.0) * rng.lognormal(0, 0.1, 1000)
    new = np.where(rng.random(1000) < 0.1, 100.0, 3.0) * rng.lognormal(0, 0.1, 1000)
    finding = Latency().check(split(0.5, 1000, 1000, {"latency_ms": old}, {"latency_ms": new}))
    assert (finding.state, finding.evidence["log_evidence"] > 7) == ("pass", True)
    assert Latency(quantile=0.5).check(split(0.5, 1000, 1000, {"latency_ms": old}, {"latency_ms": new})).state == "fail"


def test_rows_that_were_answered_together_are_one_latency() -> None:
    times = np.repeat([1.0, 2.0, 3.0], 100)
    slow = side("challenger", 300, 1000, latency_ms=np.full(300, 50.0), time=times)
    finding = Latency().check(arms_of(side("champion", 1000), slow, share=0.5))
    assert finding.evidence["rows"] == 3


def test_a_shadows_large_runs_are_compared_by_their_rows() -> None:
    runs = side(
        "challenger",
        640,
        latency_ms=np.full(640, 128.0),
        time=np.repeat(np.arange(10.0), 64),
        batch_rows=np.full(640, 64),
    )
    finding = Latency().check(arms_of(side("champion", 640), runs))
    assert finding.evidence["challenger_ms"] == 2.0
    assert finding.state != "fail"


def test_constants_fail_after_few_rows(rng: np.random.Generator) -> None:
    values = {"output_value": rng.normal(size=60)}
    pairs = arms_of(side("champion", 25, output_value=values["output_value"][:25]), side("challenger", 25))
    finding = Drift().check(pairs)
    assert finding.state == "fail"
    assert "the challenger gives one answer only" in finding.why
    assert Drift().check(split(0.5, 40, 40, {"output_value": values["output_value"][:40]}, {})).state == "fail"
    assert Drift().check(split(0.1, 180, 20, {"output_value": rng.normal(size=180)}, {})).state == "fail"


def test_a_constant_instead_of_a_rare_class_fails_later(rng: np.random.Generator) -> None:
    usual = np.where(rng.random(600) < 0.9, '"no"', '"yes"')
    constant = np.full(600, '"no"')
    early = arms_of(side("champion", 10, output=usual[:10]), side("challenger", 10, output=constant[:10]))
    assert Drift().check(early).state == "not enough"
    late = arms_of(side("champion", 600, output=usual), side("challenger", 600, output=constant))
    assert Drift().check(late).state == "fail"


def test_a_small_shift_of_the_answers_passes(rng: np.random.Generator) -> None:
    value = rng.normal(size=5000)
    arms = arms_of(side("champion", 5000, output_value=value), side("challenger", 5000, output_value=value + 0.1))
    finding = Drift().check(arms)
    assert (finding.state, finding.evidence["log_evidence"] > 7) == ("pass", True)
    far = arms_of(side("champion", 5000, output_value=value), side("challenger", 5000, output_value=value + 1))
    assert Drift().check(far).state == "fail"


def test_disagreement_counts_numbers_by_their_distance_and_other_answers_by_their_json(
    rng: np.random.Generator,
) -> None:
    value = rng.normal(size=400)
    arms = arms_of(side("champion", 400, output_value=value), side("challenger", 400, output_value=value + 0.01))
    assert Disagreement().check(arms).state == "fail"
    assert Disagreement(tolerance=0.02).check(arms).state == "pass"
    one, two = np.array(['"a"', '"b"'] * 200), np.array(['"a"', '"a"'] * 200)
    texts = arms_of(side("champion", 400, output=one), side("challenger", 400, output=two))
    finding = Disagreement().check(texts)
    assert (finding.state, finding.why) == ("fail", "50.0% of 400 pairs differ; the limit is 20%")
    assert Disagreement(limit=0.6).check(texts).state == "pass"
    with pytest.raises(UsageError, match="a split has no pairs"):
        Disagreement().check(split(0.5, 10, 10, {}, {}))


def test_a_metric_from_feedback_is_a_guard_too(rng: np.random.Generator) -> None:
    truth = rng.normal(size=500)
    old = side("champion", 500, output_value=truth + rng.normal(0, 1, 500), truth_value=truth)
    worse = side("challenger", 500, output_value=truth + rng.normal(0, 2, 500), truth_value=truth)
    guard = Quality(absolute_error())
    finding = guard.check(arms_of(old, worse))
    assert (guard.name, finding.state) == ("absolute error", "fail")
    assert finding.why.startswith("worse: ")
    assert guard.check(arms_of(old, old | {"arm": ["challenger"] * 500})).state == "pass"
    few = arms_of(side("champion", 50, truth_value=truth[:50]), side("challenger", 50, truth_value=truth[:50]))
    assert guard.check(few).state == "not enough"


def test_guards_read_the_arms_of_a_record(tmp_path: Path) -> None:
    values = list(np.random.default_rng(3).normal(size=40).round(3))
    failed = [500] * 40
    write(tmp_path, answers(LIVE, values), answers(SHADOW, [None] * 40, numbers=range(40), statuses=failed))
    shadowed = read_arms(tmp_path, Shadow())
    assert {guard.name: guard.check(shadowed).state for guard in default_guards(paired=True)} == {
        "errors": "fail",
        "latency": "not enough",
        "drift": "not enough",
        "disagreement": "not enough",
    }
    other = tmp_path / "split"
    write(other, answers(OLD, values), answers(NEW, [7.0] * 40, start=40))
    arms = read_arms(other, Split("old", "new", {"old": 1, "new": 1}))
    assert [guard.check(arms).state for guard in default_guards(paired=False)] == ["not enough", "not enough", "fail"]


def test_guards_have_nothing_to_say_of_empty_arms() -> None:
    arms = arms_of(side("champion", 0), side("challenger", 0), share=0.5)
    assert set(states(arms).values()) == {"not enough"}


def test_without_a_planned_share_the_units_themselves_say_it(rng: np.random.Generator) -> None:
    arms = split(0.5, 300, 100, {}, {"status": np.full(100, 500)})
    arms.share = None
    assert Errors().check(arms).state == "fail"


def test_a_table_without_the_columns_is_named() -> None:
    arms = arms_of(side("champion", 1))
    with pytest.raises(RecordError, match="the guard cannot read the arms: .*nothing"):
        ask(arms, "SELECT nothing FROM arms")
