"""What a guard finds, and what all guards share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import duckdb

from hansang.errors import RecordError
from hansang.rollout.arms import CHALLENGER, CHAMPION, Arms

State = Literal["pass", "fail", "not enough"]
ENOUGH = 100  # rows an arm from which a guard that did not fail has passed
ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class Finding:
    """What a guard found: its state, why in words, and the numbers behind it."""

    guard: str
    state: State
    why: str
    evidence: Mapping[str, float]
    alpha: float


class Guard(Protocol):
    """Anything that can look at the arms of an experiment; the guards here are frozen dataclasses."""

    @property
    def name(self) -> str:
        """How it is called in findings."""

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now."""


def ask(arms: Arms, sql: str) -> list[tuple[Any, ...]]:
    """Ask the table `arms`; raises `RecordError` with DuckDB's own words."""
    try:
        return arms.connection.execute(sql).fetchall()
    except duckdb.Error as error:
        raise RecordError(f"the guard cannot read the arms: {error}") from error


def is_strong(log_evidence: float, alpha: float) -> bool:
    """Say whether evidence is enough for an error of alpha at all looks together."""
    return log_evidence >= -math.log(alpha)


def state_of(fails: bool, enough: bool) -> State:
    """Name the state; to fail, a guard needs no least number of rows."""
    return "fail" if fails else "pass" if enough else "not enough"


def share_of(arms: Arms) -> float:
    """Give the chance that a unit is the challenger's: a half of each pair, else the planned share.

    Where nobody says what was planned, the units' own counts stand in, and the tests are exact no more.
    """
    if arms.paired:
        return 0.5
    if arms.share is not None:
        return arms.share
    counts = arms.counts()
    mine, other = counts[CHALLENGER][1], counts[CHAMPION][1]
    return (mine + 1) / (mine + other + 2)
