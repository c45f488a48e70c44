"""The state of an experiment, read from its record: words, guards, the ratio of the arms, as values and as a table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hansang.errors import UsageError
from hansang.record.read import connect
from hansang.rollout.arms import Shadow, Split
from hansang.rollout.guards import default_guards
from hansang.rollout.metric import absolute_error, accuracy, latency
from hansang.rollout.status import Status, look, table
from tests.rollout.making import LIVE, SHADOW, answers, tell, write

OLD, NEW = replace(LIVE, variant="old"), replace(LIVE, variant="new")
HALVES = Split("old", "new", {"old": 50, "new": 50})


def printed(status: Status) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table(status))
    return console.export_text()


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shadow whose challenger is closer to the truth in most of 400 pairs."""
    folder = tmp_path_factory.mktemp("shadowed")
    rng = np.random.default_rng(8)
    truth = rng.normal(10, 3, 400)
    old, new = truth + rng.normal(0, 1, 400), truth + rng.normal(0, 0.5, 400)
    write(folder, answers(LIVE, old.tolist()), answers(SHADOW, new.tolist(), numbers=range(400)))
    tell(folder, truth.tolist())
    return folder


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split in halves of which one gave no different answers."""
    folder = tmp_path_factory.mktemp("halves")
    rng = np.random.default_rng(9)
    rows = rng.normal(10, 3, 400)
    keys = [f"user-{number}" for number in range(200)]
    write(
        folder,
        answers(OLD, rows[:200].tolist(), keys=keys),
        answers(NEW, rows[200:].tolist(), start=200, keys=[f"other-{number}" for number in range(200)]),
    )
    tell(folder, (rows + rng.normal(size=400)).tolist())
    return folder


def test_a_shadow_that_is_closer_to_the_truth_is_better(shadowed: Path) -> None:
    status = look(shadowed, Shadow(), [absolute_error()], default_guards(paired=True)[:1])
    (verdict,) = status.verdicts
    assert (str(verdict), verdict.units, verdict.unit, verdict.alpha) == ("better", 400, "pairs", 0.05)
    assert verdict.low < verdict.effect < verdict.high < 0
    assert verdict.challenger - verdict.champion == pytest.approx(verdict.effect)
    assert status.may_take_over
    text = printed(status)
    assert "shadow, paired; false with at most 5% at all looks together" in text
    assert "400 pairs" in text and "better" in text and "pass" in text


def test_metrics_share_the_error_and_a_failed_guard_stands_in_the_way(shadowed: Path) -> None:
    metrics = [absolute_error(), accuracy(value="(abs(output_value - truth_value) < 0.5)::DOUBLE")]
    status = look(shadowed, Shadow(), metrics, default_guards(paired=True))
    assert [verdict.alpha for verdict in status.verdicts] == [0.025, 0.025]
    assert [finding.guard for finding in status.failed] == ["disagreement"]
    assert not status.may_take_over


def test_a_split_without_a_difference_is_undecided_and_says_how_many_more(halves: Path) -> None:
    status = look(halves, HALVES, [absolute_error(margin=0.1)])
    assert str(status.verdicts[0]).startswith("undecided (about ")
    assert status.verdicts[0].unit == "rows"
    assert not status.ratio.mismatch and not status.may_take_over
    text = printed(status)
    assert "200 rows of the champion, 200 of the challenger; 50.00% of the units, planned 50.00%" in text


def test_a_ratio_that_is_not_the_planned_one_blocks_every_verdict(halves: Path) -> None:
    status = look(halves, Split("old", "new", {"old": 80, "new": 20}), [absolute_error(), latency()])
    assert status.ratio.mismatch
    assert {str(verdict) for verdict in status.verdicts} == {"undecided (the arms are not as planned)"}
    assert "planned 20.00%: not by chance" in printed(status)


def test_without_weights_the_ratio_is_not_tested(halves: Path) -> None:
    status = look(halves, Split("old", "new"))
    assert (status.ratio.planned, status.ratio.mismatch) == (None, False)
    assert [verdict.metric for verdict in status.verdicts] == ["failures", "latency"]
    assert "no share is planned" in printed(status)


def test_the_state_is_plain_json_even_before_the_first_row(tmp_path: Path) -> None:
    write(tmp_path, answers(LIVE, [1.0]))
    status = look(tmp_path, HALVES, guards=default_guards(paired=False))
    plain = json.loads(json.dumps(status.as_dict(), allow_nan=False))
    assert plain["may_take_over"] is False
    assert [each["says"] for each in plain["verdicts"]] == ["undecided (no rows with a value yet)"] * 2
    assert plain["verdicts"][0]["low"] is None
    assert {each["state"] for each in plain["findings"]} == {"not enough"}
    assert "not yet" in printed(status)


def test_keys_on_both_sides_are_told(tmp_path: Path) -> None:
    write(tmp_path, answers(OLD, [1.0, 1.0], keys=["kim", "lee"]), answers(NEW, [1.0], start=2, keys=["kim"]))
    status = look(tmp_path, HALVES)
    assert (status.ratio.crossed, dict(status.ratio.units)) == (1, {"champion": 2, "challenger": 0})
    assert "1 keys are on both sides" in printed(status)


def test_a_connection_of_the_caller_stays_open(halves: Path) -> None:
    connection = connect(halves)
    look(connection, HALVES)
    assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (400,)


def test_two_metrics_of_one_name_are_refused(halves: Path) -> None:
    with pytest.raises(UsageError, match="two metrics have one name"):
        look(halves, HALVES, [latency(), latency(margin=0.5)])
