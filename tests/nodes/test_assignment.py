"""Which side a key falls on: for ever the same, by weight, and moving only as far as the weights move."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansang.nodes.assign.assignment import MANY, Assignment

KEYS = [f"user-{number}" for number in range(1_000_000)]
TOLERANCE = 0.002

DIGEST = """
import hashlib
from hansang.nodes.assign.assignment import Assignment
sides = Assignment("prices", {"a": 90, "b": 10}).sides([f"user-{number}" for number in range(100_000)])
print(hashlib.sha256(bytes(sides)).hexdigest())
"""


def shares(sides: list[int]) -> dict[int, float]:
    return {side: count / len(sides) for side, count in Counter(sides).items()}


def test_no_release_may_change_who_is_on_which_side() -> None:
    assignment = Assignment("prices", {"champion": 50, "challenger": 30, "candidate": 20})
    keys = ["kim", "lee", "park", "choi", "jung", "user-1", "user-2", "7", "한상", "o'brien", "a b", "\ud800"]
    assert assignment.sides(keys) == [1, 1, 2, 0, 1, 0, 2, 0, 1, 1, 2, 1]
    assert assignment.sides([f"user-{number}" for number in range(40)]) == [
        int(side) for side in "0020210000002010020122201122201021002000"
    ]
    assert assignment.draw("kim") == {
        "champion": 0.7477878195120707,
        "challenger": 0.8822014300299267,
        "candidate": 0.01504472112312478,
    }


@pytest.mark.parametrize("weights", [(90, 10), (50, 50), (99, 1), (50, 30, 20), (40, 30, 20, 10, 0), (1,) * 8])
def test_a_million_keys_fall_by_weight(weights: tuple[int, ...]) -> None:
    found = shares(Assignment("shares", {f"side {n}": weight for n, weight in enumerate(weights)}).sides(KEYS))
    for side, weight in enumerate(weights):
        assert found.get(side, 0.0) == pytest.approx(weight / sum(weights), abs=TOLERANCE)


def test_ten_to_twenty_percent_moves_the_added_tenth_and_nobody_back() -> None:
    before = Assignment("moves", {"a": 90, "b": 10}).sides(KEYS)
    after = Assignment("moves", {"a": 80, "b": 20}).sides(KEYS)
    moved = Counter(zip(before, after, strict=True))
    assert moved[1, 0] == 0
    assert moved[0, 1] / len(KEYS) == pytest.approx(0.1, abs=TOLERANCE)


def test_a_side_that_is_added_takes_its_share_and_moves_nobody_else() -> None:
    before = Assignment("adds", {"a": 60, "b": 40}).sides(KEYS)
    after = Assignment("adds", {"a": 60, "b": 40, "c": 25}).sides(KEYS)
    moved = Counter(zip(before, after, strict=True))
    assert moved[0, 1] == moved[1, 0] == 0
    assert moved[0, 2] / len(KEYS) == pytest.approx(0.2 * 0.6, abs=TOLERANCE)
    assert moved[1, 2] / len(KEYS) == pytest.approx(0.2 * 0.4, abs=TOLERANCE)


def test_experiments_of_different_names_are_independent() -> None:
    weights = {"a": 70, "b": 30}
    pairs = zip(Assignment("one", weights).sides(KEYS), Assignment("other", weights).sides(KEYS), strict=True)
    found = Counter(pairs)
    for one, first in enumerate((0.7, 0.3)):
        for other, second in enumerate((0.7, 0.3)):
            assert found[one, other] / len(KEYS) == pytest.approx(first * second, abs=TOLERANCE)


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_assigns_in_the_same_way(seed: str) -> None:
    here = Assignment("prices", {"a": 90, "b": 10}).sides(KEYS[:100_000])
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(bytes(here)).hexdigest()


weights = st.dictionaries(
    st.text("abcdefgh", min_size=1), st.sampled_from([0, 0.5, 1, 9, 90.0, 1e6]), min_size=1, max_size=6
).filter(lambda found: any(found.values()))
keys = st.lists(st.text(max_size=12), min_size=1, max_size=3 * MANY)


@settings(deadline=None)
@given(weights=weights, keys=keys)
def test_many_keys_at_once_fall_as_each_alone(weights: dict[str, float], keys: list[str]) -> None:
    assignment = Assignment("name", weights)
    assert assignment.sides(keys) == [assignment.sides([key])[0] for key in keys]


@settings(deadline=None)
@given(weights=weights, keys=keys, factor=st.sampled_from([0.01, 3.0, 1000.0]))
def test_neither_the_order_nor_the_scale_of_the_weights_matters(
    weights: dict[str, float], keys: list[str], factor: float
) -> None:
    turned = {label: weight * factor for label, weight in reversed(weights.items())}
    labels, others = list(weights), list(turned)
    first, second = Assignment("name", weights).sides(keys), Assignment("name", turned).sides(keys)
    assert [labels[side] for side in first] == [others[side] for side in second]


@settings(deadline=None)
@given(weights=weights, keys=keys)
def test_a_side_of_weight_zero_gets_nobody(weights: dict[str, float], keys: list[str]) -> None:
    labels = list(weights)
    assert all(weights[labels[side]] for side in Assignment("name", weights).sides(keys))
