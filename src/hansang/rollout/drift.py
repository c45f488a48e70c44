"""The guard on what a challenger answers: constants, or another distribution altogether."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hansang.record.views import quoted
from hansang.rollout.arm import Floats
from hansang.rollout.arms import CHALLENGER, CHAMPION, Arms
from hansang.rollout.evidence import log_average, log_evidence
from hansang.rollout.finding import ALPHA, ENOUGH, Finding, ask, is_strong, share_of, state_of

FIRST = 200  # answers of both arms together that say where the bins are
WORDS = 9  # answers with a bin of their own, where they are no numbers
TENTHS = np.arange(1, 10) / 10

KINDS = "SELECT arm, count(DISTINCT output) FROM arms WHERE status < 400 GROUP BY arm"
COUNTS = """
SELECT arm, bin, count(*) FROM (
    SELECT DISTINCT ON (arm, unit) arm, {bin} AS bin FROM arms WHERE status < 400 ORDER BY arm, unit, time, id, row
) GROUP BY arm, bin
"""
PAIRS = """
WITH binned AS (SELECT unit, time, id, row, arm, {bin} AS bin FROM arms WHERE status < 400), pairs AS (
    SELECT DISTINCT ON (one.unit) one.bin AS bin, two.bin AS other FROM binned AS one JOIN binned AS two USING (id, row)
    WHERE one.arm = 'champion' AND two.arm = 'challenger' ORDER BY one.unit, one.time, id, row
)
SELECT bin, other, count(*) FROM pairs GROUP BY bin, other
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """Fails when the challenger's answers are surely, and by much, differently distributed: constants, say.

    Numbers are put into bins, other answers counted; the bins come from the first answers of both arms together. Much
    is a population stability index (PSI) above `limit`, of which 0.25 is the usual word for a large shift. A key counts
    once, by its first row. Constants instead of numbers are found after about 20 pairs, 22 rows of the challenger in a
    split in halves, 9 in one of 90 to 10; instead of a rare class, after some hundreds.
    """

    limit: float = 0.25
    enough: int = ENOUGH
    alpha: float = ALPHA
    name: str = "drift"

    def check(self, arms: Arms) -> Finding:
        """Look at the arms as they are now."""
        expression, size = bins(arms)
        one, two, strength = (in_pairs if arms.paired else in_arms)(arms, expression, size)
        kinds = dict(ask(arms, KINDS))
        rows = int(min(one.sum(), two.sum()))
        shift = stability(one, two)
        constant = kinds.get(CHALLENGER) == 1 and kinds.get(CHAMPION, 0) > 1
        why = "the challenger gives one answer only; PSI" if constant else "the answers' PSI"
        why += f" is {shift:.3g} after {rows:,} rows, the limit is {self.limit:g}"
        numbers = {"psi": shift, "log_evidence": strength, "rows": rows, "kinds": kinds.get(CHALLENGER, 0)}
        fails = is_strong(strength, self.alpha) and shift > self.limit
        return Finding(self.name, state_of(fails, rows >= self.enough), why, numbers, self.alpha)


def bins(arms: Arms) -> tuple[str, int]:
    """Write the SQL that gives a row's bin, and say how many bins there are.

    They are chosen without looking at which arm a row is of, and stay as they are once the first rows are there: else
    the test would not be exact.
    """
    sql = f"SELECT output_value, output FROM arms WHERE status < 400 ORDER BY time, id, row LIMIT {FIRST}"
    first = ask(arms, sql)
    numbers = [value for value, _ in first if value is not None and math.isfinite(value)]
    if 2 * len(numbers) >= len(first):
        edges = np.unique(np.quantile(numbers, TENTHS)) if numbers else np.empty(0)
        bin = " + ".join(["1", *(f"(output_value >= {edge!r}::DOUBLE)::INT" for edge in edges.tolist())])
        return f"CASE WHEN output_value IS NULL THEN 0 ELSE {bin} END", len(edges) + 2
    texts, counts = np.unique([output or "" for _, output in first], return_counts=True)
    usual = texts[np.argsort(-counts, kind="stable")[:WORDS]].tolist()
    return f"coalesce(list_position([{', '.join(map(quoted, usual))}], coalesce(output, '')), 0)", len(usual) + 1


def in_arms(arms: Arms, expression: str, size: int) -> tuple[Floats, Floats, float]:
    """Count the bins of a split, and give the evidence that a bin's rows do not fall on the arms as planned."""
    one, two = np.zeros(size), np.zeros(size)
    for arm, bin, count in ask(arms, COUNTS.format(bin=expression)):
        (one if arm == CHAMPION else two)[int(bin)] = count
    return one, two, log_average(log_evidence(two, one + two, share_of(arms)))


def in_pairs(arms: Arms, expression: str, size: int) -> tuple[Floats, Floats, float]:
    """Count the bins of pairs, and give the evidence that pairs go into a bin more often than they leave it."""
    pairs = np.zeros((size, size))
    for bin, other, count in ask(arms, PAIRS.format(bin=expression)):
        pairs[int(bin), int(other)] = count
    one, two, same = pairs.sum(1), pairs.sum(0), pairs.diagonal()
    return one, two, log_average(log_evidence(two - same, one + two - 2 * same, 0.5))


def stability(one: Floats, two: Floats) -> float:
    """Give the population stability index of two histograms; half a row more in each bin keeps it finite."""
    first, second = ((counts + 0.5) / (counts.sum() + 0.5 * counts.size) for counts in (one, two))
    return float(((second - first) * np.log(second / first)).sum())
