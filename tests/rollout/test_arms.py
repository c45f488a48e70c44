"""The arms of an experiment as the record holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hansang.errors import RecordError, UsageError
from hansang.rollout.arm import Arm
from hansang.rollout.arms import Shadow, Split, read_arms
from hansang.rollout.metric import Metric, absolute_error, accuracy, latency, score
from tests.record.making import TIME
from tests.rollout.making import LIVE, SHADOW, answers, tell, write

OLD, NEW = replace(LIVE, variant="old"), replace(LIVE, variant="new")
ERROR = absolute_error()


def test_a_split_is_read_by_its_labels_with_truths_and_by_keys(tmp_path: Path) -> None:
    write(
        tmp_path,
        answers(OLD, [10.0, 12.0, 11.0], keys=["kim", "kim", "lee"]),
        answers(NEW, [7.0, 8.0], start=3, keys=["park", None]),
        answers(replace(LIVE, variant="third"), [1.0], start=5),
    )
    tell(tmp_path, [11.0, 11.0, 11.0, 11.0])
    arms = read_arms(tmp_path, Split("old", "new", {"old": 60, "new": 40}))
    sums = arms.sums(ERROR)
    assert arms.share == pytest.approx(0.4)
    assert sums["champion"] == Arm.of([1.0, 1.0, 0.0], ["kim", "kim", "lee"])
    assert sums["challenger"] == Arm.of([4.0])
    assert arms.counts() == {"champion": (3, 2), "challenger": (2, 2)}
    assert arms.crossed() == 0


def test_a_shadow_is_read_in_complete_pairs_and_by_version(tmp_path: Path) -> None:
    write(
        tmp_path,
        answers(LIVE, [1.0, 2.0, 3.0, 4.0]),
        answers(SHADOW, [1.5, 2.0, 9.0], numbers=[0, 1, 3]),
        answers(replace(SHADOW, version="5"), [0.0], numbers=[2]),
    )
    tell(tmp_path, [1.0, 3.0, 3.0, 4.0])
    arms = read_arms(tmp_path, Shadow(champion="3", challenger="4"))
    sums = arms.sums(ERROR)
    assert arms.counts() == {"champion": (3, 3), "challenger": (3, 3)}
    assert sums["difference"] == Arm.of([0.5, 0.0, 5.0])
    assert sums["champion"] == Arm.of([0.0, 1.0, 0.0])
    assert sums["challenger"] == Arm.of([0.5, 1.0, 5.0])
    other = read_arms(tmp_path, Shadow(challenger="5")).sums(ERROR)
    assert other["difference"] == Arm.of([3.0])


def test_rows_that_were_forced_to_a_side_are_left_out(tmp_path: Path) -> None:
    tags = [None, {"prices.forced": "header"}, {"other.forced": "header"}]
    write(tmp_path, answers(OLD, [1, 2, 3], tags=tags), answers(NEW, [4], start=3))
    assert read_arms(tmp_path, Split("old", "new", name="prices")).counts()["champion"] == (2, 2)


def test_only_rows_of_the_time_of_the_experiment_are_read(tmp_path: Path) -> None:
    write(tmp_path, answers(OLD, range(100)), answers(NEW, range(50), start=100))
    arms = read_arms(tmp_path, Split("old", "new"), since=TIME + 0.9, until=TIME + 1.1)
    assert {arm: rows for arm, (rows, _) in arms.counts().items()} == {"champion": 10, "challenger": 10}


def test_a_shadow_of_one_node_or_model_is_told_from_another(tmp_path: Path) -> None:
    second = replace(SHADOW, node="other,prices", model="costs")
    write(tmp_path, answers(LIVE, [1.0, 2.0]), answers(second, [5.0, 6.0]), answers(SHADOW, [3.0], numbers=[1]))
    assert read_arms(tmp_path, Shadow(node="shadow")).counts()["challenger"] == (1, 1)
    assert read_arms(tmp_path, Shadow(model="costs")).counts()["challenger"] == (2, 2)
    assert read_arms(tmp_path, Shadow(service="none")).counts()["challenger"] == (0, 0)


def test_a_split_inside_another_is_found_by_its_own_label(tmp_path: Path) -> None:
    write(
        tmp_path,
        answers(replace(LIVE, variant="eu,old"), [1.0]),
        answers(replace(LIVE, variant="us,new"), [1.0], start=1),
    )
    assert read_arms(tmp_path, Split("old", "new")).counts() == {"champion": (1, 1), "challenger": (1, 1)}


def test_pairs_of_an_hour_may_be_one_unit(tmp_path: Path) -> None:
    rows = 200
    write(tmp_path, answers(LIVE, [0.0] * rows), answers(SHADOW, list(np.arange(rows) % 7 / 7)))
    tell(tmp_path, [0.0] * rows)
    unit = "floor(epoch(time) * 2)"
    sums = read_arms(tmp_path, Shadow(unit=unit)).sums(ERROR)["difference"]
    assert sums.rows == rows
    assert sums.units == 5
    assert read_arms(tmp_path, Shadow(unit="date_trunc('hour', time)")).sums(ERROR)["difference"].units == 1


def test_labels_are_right_or_wrong_by_their_json(tmp_path: Path) -> None:
    write(tmp_path, answers(OLD, ["cat", "dog"]), answers(NEW, ["cat", "cat"], start=2, statuses=[200, 500]))
    tell(tmp_path, ["cat", "cat", "cat", "cat"])
    sums = read_arms(tmp_path, Split("old", "new")).sums(accuracy())
    assert (sums["champion"].mean, sums["challenger"].mean) == (0.5, 0.5)


def test_an_arm_that_answered_nobody_is_empty(tmp_path: Path) -> None:
    write(tmp_path, answers(OLD, [1.0]))
    arms = read_arms(tmp_path, Split("old", "new"))
    assert arms.counts()["challenger"] == (0, 0)
    assert arms.sums(latency())["challenger"].units == 0


def test_latencies_are_compared_by_their_logarithms_and_by_batches(tmp_path: Path) -> None:
    write(tmp_path, answers(OLD, [1, 2], latencies=[0.002, 0.008]), answers(NEW, [3], start=2, latencies=[0.004]))
    sums = read_arms(tmp_path, Split("old", "new")).sums(latency())
    assert np.exp(sums["champion"].mean) == pytest.approx(4.0)
    assert np.exp(sums["challenger"].mean) == pytest.approx(4.0)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record in"):
        read_arms(tmp_path / "nothing", Split("old", "new"))
    write(tmp_path, answers(LIVE, [1]), answers(SHADOW, [1]))
    arms = read_arms(tmp_path, Shadow())
    with pytest.raises(UsageError, match="metric 'score' says nothing of a shadow"):
        arms.sums(score())
    with pytest.raises(RecordError, match="metric 'profit': .*nothing"):
        arms.sums(Metric("profit", "nothing + 1"))
    with pytest.raises(RecordError, match="the arms cannot be read: .*nothing"):
        read_arms(tmp_path, Shadow(unit="nothing"))
