"""Guards: what must not happen while a challenger gets rows; each says pass, fail or not enough, and why.

Every guard may be evaluated as often as one likes: a challenger that is like the champion fails one at any time with a
probability of at most its `alpha`. Counts are tested exactly (see `evidence`), so a guard may fail after a few rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hansang.errors import UsageError
from hansang.rollout.arm import Floats
from hansang.rollout.arms import CHALLENGER, CHAMPION, Arms
from hansang.rollout.drift import Drift
from hansang.rollout.evidence import log_average, log_excess
from hansang.rollout.finding import ALPHA, ENOUGH, Finding, Guard, ask, is_strong, share_of, state_of
from hansang.rollout.metric import Metric
from hansang.rollout.sequence import LEAST
from hansang.rollout.verdict import judge

__all__ = ["Disagreement", "Drift", "Errors", "Finding", "Guard", "Latency", "Quality", "default_guards"]

FAILED_UNITS = """
SELECT count(*) FILTER (arm = 'challenger'), count(*) FROM
(SELECT DISTINCT arm, unit FROM arms WHERE status >= 500)
"""
FAILED_ALONE = """
WITH pairs AS (
    SELECT unit, bool_or(status >= 500) FILTER (arm = 'challenger') AS mine,
           bool_or(status >= 500) FILTER (arm = 'champion') AS other
    FROM arms GROUP BY unit, id, row
), units AS (SELECT sum((mine AND NOT other)::INT) - sum((other AND NOT mine)::INT) AS more FROM pairs GROUP BY unit)
SELECT count(*) FILTER (more > 0), count(*) FILTER (more <> 0) FROM units
"""
TIMES = """
SELECT arm = 'challenger' AS mine, latency_ms AS ms FROM (
    SELECT DISTINCT ON (arm, time) * FROM arms WHERE NOT cached AND (status < 400 OR status >= 500)
    ORDER BY arm, time, id, row
) ORDER BY time, id, row
"""
RUNS = """
WITH runs AS (
    SELECT *, latency_ms / greatest(batch_rows, count(*) OVER (PARTITION BY arm, time), 1) AS ms FROM arms
    WHERE NOT cached AND (status < 400 OR status >= 500)
)
SELECT DISTINCT ON (two.time) one.ms AS usual, two.ms AS ms FROM runs AS one JOIN runs AS two USING (id, row)
WHERE one.arm = 'champion' AND two.arm = 'challenger' ORDER BY two.time, id, row
"""
LEVELS = np.array([0.5, 0.75, 0.9])  # quantiles of both arms together at which their latencies are compared
FIRST = 100  # batches that say where these are
DIFFERENT = """
WITH first AS (
    SELECT DISTINCT ON (unit) id, row, status, output, output_value FROM arms WHERE arm = 'champion'
    ORDER BY unit, time, id, row
)
SELECT count(*), count(*) FILTER (
    CASE WHEN one.output_value IS NOT NULL AND two.output_value IS NOT NULL
         THEN NOT abs(one.output_value - two.output_value) <= {tolerance}
         ELSE one.output IS DISTINCT FROM two.output END)
FROM first AS one JOIN arms AS two USING (id, row)
WHERE two.arm = 'challenger' AND one.status < 400 AND two.status < 400
"""


@dataclass(frozen=True, slots=True)
class Errors:
    """Fails when the challenger fails more rows (status 500 and above) than the champion, by more than `more`.

    Of a split, the keys that ever failed are counted by their side: with the same faults they fall on the challenger
    as often as its share says. Of a shadow, the rows that one side failed alone. A challenger that fails every row is
    found after 14 rows of its own in a shadow and in a split in halves, after 6 in a split of 90 to 10.
    """

    more: float = 0.01
    enough: int = ENOUGH
    alpha: float = ALPHA
    name: str = "errors"

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now."""
        failed = "SELECT arm, count(*), count(*) FILTER (status >= 500) FROM arms GROUP BY arm"
        seen = {arm: (int(rows), int(bad)) for arm, rows, bad in ask(arms, failed)}
        (rows, bad), (all_rows, all_bad) = seen.get(CHALLENGER, (0, 0)), seen.get(CHAMPION, (0, 0))
        ((mine, both),) = ask(arms, FAILED_ALONE if arms.paired else FAILED_UNITS)
        strength = float(log_excess(mine, both, share_of(arms)))
        rate, usual = bad / max(rows, 1), all_bad / max(all_rows, 1)
        fails = is_strong(strength, self.alpha) and rate - usual > self.more
        why = f"{rate:.2%} of {rows:,} rows failed, of the champion's {all_rows:,} {usual:.2%}"
        numbers = {"challenger": rate, "champion": usual, "log_evidence": strength, "rows": rows}
        return Finding(self.name, state_of(fails, min(rows, all_rows) >= self.enough), why, numbers, self.alpha)


@dataclass(frozen=True, slots=True)
class Latency:
    """Fails when the challenger is surely, and in a quantile of its latency, more than `ratio` times slower.

    Surely: were it just `ratio` times slower, its latencies, divided by that, would be among the slow ones as often as
    its share says. Rows that were answered together count once, cached rows not at all. Of a shadow the time per row is
    compared, for its runs are larger than the live batches, and each run with a live row of its own. With
    long tails (lognormal, 0.7), a challenger that is five times slower is found after about 35 of its batches in a
    shadow and in a split in halves, after 18 in one of 90 to 10.
    """

    ratio: float = 1.5
    quantile: float = 0.95
    enough: int = ENOUGH
    alpha: float = ALPHA
    name: str = "latency"

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now."""
        one, two, strength = (self.in_runs if arms.paired else self.in_batches)(arms)
        usual, now = at(one, self.quantile), at(two, self.quantile)
        ratio = now / usual if usual > 0 else math.nan
        rows = min(one.size, two.size)
        why = f"p{self.quantile * 100:g} is {now:.3g} ms, the champion's {usual:.3g} ms, "
        why += f"the limit is {self.ratio:g} times that"
        numbers = {"champion_ms": usual, "challenger_ms": now, "ratio": ratio, "log_evidence": strength, "rows": rows}
        fails = is_strong(strength, self.alpha) and ratio > self.ratio
        return Finding(self.name, state_of(fails, rows >= self.enough), why, numbers, self.alpha)

    def in_batches(self, arms: Arms) -> tuple[Floats, Floats, float]:
        """Give the latencies of a split's batches, and the evidence that the challenger's are among the slow ones."""
        mine, times = columns(arms, TIMES, "mine", "ms")
        chosen = mine > 0
        scaled = np.where(chosen, times / self.ratio, times)
        if not scaled.size:
            return times, times, -math.inf
        slow = scaled > np.quantile(scaled[:FIRST], LEVELS)[:, None]
        strength = log_average(log_excess((slow & chosen).sum(1), slow.sum(1), share_of(arms)))
        return times[~chosen], times[chosen], strength

    def in_runs(self, arms: Arms) -> tuple[Floats, Floats, float]:
        """Give the time per row of a shadow's runs and of live rows, and the evidence that most runs are slower."""
        usual, times = columns(arms, RUNS, "usual", "ms")
        slower = float((times > self.ratio * usual).sum())
        return usual, times, float(log_excess(slower, float(times.size), 0.5))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Fails when more than `limit` of a shadow's answers surely differ from the live ones.

    Answers that are numbers differ when they are more than `tolerance` apart, others when their JSON differs. Pairs of
    which a side failed are left out: `Errors` counts them. A key counts once, by its first pair.
    """

    limit: float = 0.2
    tolerance: float = 0.0
    enough: int = ENOUGH
    alpha: float = ALPHA
    name: str = "disagreement"

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now; raises `UsageError` for a split, which has no pairs."""
        if not arms.paired:
            raise UsageError(f"guard {self.name!r}: a split has no pairs to compare; use it with a shadow")
        ((pairs, differ),) = ask(arms, DIFFERENT.format(tolerance=repr(float(self.tolerance))))
        strength = float(log_excess(differ, pairs, self.limit))
        rate = differ / max(pairs, 1)
        why = f"{rate:.1%} of {pairs:,} pairs differ; the limit is {self.limit:.0%}"
        numbers = {"rate": rate, "log_evidence": strength, "rows": pairs}
        state = state_of(is_strong(strength, self.alpha), pairs >= self.enough)
        return Finding(self.name, state, why, numbers, self.alpha)


@dataclass(frozen=True, slots=True)
class Quality:
    """Fails when a metric, mostly one that feedback tells, is worse by the interval of the verdict."""

    metric: Metric
    alpha: float = 0.01

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.name

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now."""
        sums = arms.sums(self.metric)
        said = judge(self.metric, sums[CHAMPION], sums[CHALLENGER], sums.get("difference"), self.alpha)
        least = min(float(sums[CHAMPION].units), float(sums[CHALLENGER].units))
        why = f"{said}: {said.challenger:.4g}, the champion's {said.champion:.4g}"
        numbers = {"effect": said.effect, "low": said.low, "high": said.high, "rows": least}
        return Finding(self.name, state_of(said.word == "worse", least >= LEAST), why, numbers, self.alpha)


def default_guards(*, paired: bool) -> tuple[Guard, ...]:
    """Give the guards that need neither labels nor knowledge of the model."""
    return (Errors(), Latency(), Drift(), *([Disagreement()] if paired else []))


def columns(arms: Arms, sql: str, *names: str) -> tuple[Floats, ...]:
    """Ask the table `arms` for columns of numbers."""
    found = ask(arms, f"SELECT {', '.join(f'list({name}::DOUBLE)' for name in names)} FROM ({sql})")
    return tuple(np.array(column or [], np.float64) for column in found[0])


def at(values: Floats, part: float) -> float:
    """Give a quantile; NaN of nothing."""
    return float(np.quantile(values, part)) if values.size else math.nan
