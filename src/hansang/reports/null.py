"""What drift scores are worth when nothing has changed: nulls bootstrapped from the reference, per feature.

A fixed threshold on PSI or a Wasserstein distance means something else for every number of rows, every shape and every
number of bins. So the reference is drawn again and again as if both windows came from it, in two ways: row by row, and
day by day where there are days enough, since rows of one day resemble each other. The larger p-value counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hansang.reports.statistics import Floats, p_value, psi, redraws

FEWEST_DAYS = 7
FIRST_DRAWS, MOST_DRAWS = 1000, 50_000
UNLIKELY = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """What two windows of one feature say: the score, its null's 99.9 % quantile, and p-values."""

    score: float
    threshold: float
    p: float
    missing_p: float


@dataclass(slots=True)
class Null:
    """Draws the windows again; one for all features of a report, whose days are shared.

    `days` are the numbers of days in the reference and in the window. `tests` is how many p-values will be adjusted
    together at `alpha`: there are draws enough that the smallest possible p-value can pass.
    """

    days: tuple[int, int]
    tests: int
    alpha: float
    seed: int = 0
    _weights: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    @property
    def by_day(self) -> bool:
        """Whether the reference has days enough to be drawn by day."""
        return self.days[0] >= FEWEST_DAYS

    @property
    def draws(self) -> int:
        """How many draws a feature gets that looks unlike its reference."""
        return int(min(max(2000, 2 * self.tests / self.alpha), MOST_DRAWS))

    def measure(self, reference: Floats, current: Floats) -> Measured:
        """Compare counts per day and bin, one row a day; the last bin counts the missing."""
        score = float(psi(reference.sum(0), current.sum(0)))
        missing = increase(reference.sum(0), current.sum(0))
        first = self._compare(reference, current, score, float(missing), FIRST_DRAWS)
        if min(first.p, first.missing_p) > UNLIKELY:
            return first
        return self._compare(reference, current, score, float(missing), self.draws)

    def _compare(self, reference: Floats, current: Floats, score: float, missing: float, draws: int) -> Measured:
        ways = [self._rows(reference, current, draws)] + ([self._days(reference, draws)] if self.by_day else [])
        scores = [psi(old, new) for old, new in ways]
        return Measured(
            score,
            max(float(np.quantile(null, 0.999)) for null in scores),
            max(p_value(score, null) for null in scores),
            max(p_value(missing, increase(old, new)) for old, new in ways) if missing > 0 else 1.0,
        )

    def _rows(self, reference: Floats, current: Floats, draws: int) -> tuple[Floats, Floats]:
        """Draw both windows row by row from what they are together."""
        together = reference.sum(0) + current.sum(0)
        random = np.random.default_rng((self.seed, 1))
        shares = together / together.sum()
        old, new = (random.multinomial(int(counts.sum()), shares, draws) for counts in (reference, current))
        return old.astype(np.float64), new.astype(np.float64)

    def _days(self, reference: Floats, draws: int) -> tuple[Floats, Floats]:
        """Draw both windows from the days of the reference."""
        if draws not in self._weights:
            random = np.random.default_rng((self.seed, 2))
            days, length = self.days
            self._weights[draws] = redraws(days, draws, random), redraws(days, draws, random, length)
        old, new = self._weights[draws]
        return old @ reference, new @ reference


def increase(reference: Floats, current: Floats) -> Floats:
    """Give by how much the share of the last bin has grown."""
    shares = [counts[..., -1] / np.maximum(counts.sum(-1), 1) for counts in (reference, current)]
    grown: Floats = shares[1] - shares[0]
    return grown
