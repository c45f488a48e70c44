"""Simulated experiments for guards: how often they fail a sound challenger, and how soon a bad one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from hansang.rollout.arms import Arms
from hansang.rollout.drift import Drift
from hansang.rollout.guards import Disagreement, Errors, Guard, Latency

Columns = dict[str, np.ndarray]
Spoil = Callable[[Columns], None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What reaches the arms: `share` of the rows is the challenger's, None for a shadow; `spoil` makes it a bad one."""

    share: float | None
    rows: int
    spoil: Spoil | None = None


def draw(rng: np.random.Generator, traffic: Traffic) -> Arms:
    """Make the table of one experiment: failures of 2 %, normally distributed answers, latencies with long tails."""
    rows = traffic.rows
    one = answers(rng, rows, "champion")
    two = answers(rng, rows, "challenger")
    mine = rng.random(rows) < (traffic.share or 0.5)
    if traffic.spoil is not None:
        traffic.spoil(two)
    if traffic.share is not None:
        one = {name: values[~mine] for name, values in one.items()}
        two = {name: values[mine] for name, values in two.items()}
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    connection = duckdb.connect()
    connection.register("everything", pa.table(both))
    connection.execute("CREATE TABLE everything_there AS SELECT *, output_value::VARCHAR AS output FROM everything")
    return Arms(connection, traffic.share is None, traffic.share)


def answers(rng: np.random.Generator, rows: int, arm: str) -> Columns:
    numbers = np.arange(rows)
    return {
        "id": numbers,
        "row": np.zeros(rows, int),
        "time": numbers.astype(float) + (0.5 if arm == "challenger" else 0.0),
        "unit": numbers,
        "arm": np.full(rows, arm),
        "status": np.where(rng.random(rows) < 0.02, 500, 200),
        "latency_ms": rng.lognormal(1, 0.7, rows),
        "batch_rows": np.ones(rows, int),
        "cached": np.zeros(rows, bool),
        "output_value": rng.normal(size=rows),
    }


def first_failure(arms: Arms, guard: Guard, looks: np.ndarray) -> float:
    """Look after so many requests, until the guard fails; gives the challenger's rows then, or inf."""
    for rows in looks:
        arms.connection.execute(f"CREATE OR REPLACE VIEW arms AS SELECT * FROM everything_there WHERE id < {rows}")
        if guard.check(arms).state == "fail":
            return float(arms.connection.execute("SELECT count(*) FROM arms WHERE arm = 'challenger'").fetchone()[0])
    return np.inf


def failures(rng: np.random.Generator, guard: Guard, traffic: Traffic, runs: int, looks: np.ndarray) -> np.ndarray:
    """Give the challenger's rows at the first failure of each run."""
    found = []
    for _ in range(runs):
        arms = draw(rng, traffic)
        found.append(first_failure(arms, guard, looks))
        arms.connection.close()
    return np.array(found)


def raising(columns: Columns) -> None:
    columns["status"][:] = 500


def slow(columns: Columns) -> None:
    columns["latency_ms"] *= 5


def at_the_limit(columns: Columns) -> None:
    columns["latency_ms"] *= 1.5


def constant(columns: Columns) -> None:
    columns["output_value"][:] = 1.0


def strict(guard: Guard, alpha: float) -> Guard:
    """Give the guard without its least effect, at an alpha whose false alarms can be counted."""
    floors = {Errors: {"more": -1.0}, Drift: {"limit": -1.0}, Latency: {}, Disagreement: {}}
    return replace(guard, alpha=alpha, **floors[type(guard)])
