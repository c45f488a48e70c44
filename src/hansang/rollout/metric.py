"""What an experiment is judged by: a number for each answered row, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from hansang.errors import UsageError
from hansang.rollout.arm import Bounds

ACCURACY = """
CASE WHEN truth IS NULL THEN NULL
     WHEN truth_value IS NOT NULL AND output_value IS NOT NULL THEN (truth_value = output_value)::DOUBLE
     ELSE (status < 400 AND output IS NOT DISTINCT FROM truth)::DOUBLE END
"""
PLANNED = 10_000  # units of both arms where the interval is tightest, when a metric does not say its effect


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing to judge by: `value` is an SQL expression over a row of an arm, null where the row has none.

    The columns are those of `arms.COLUMNS`: the record's, with the newest truth. `bounds` are the least and the most a
    row can have, as (0, 1) of a rate; they make small samples safe. With `scale="ratio"` values are positive, compared
    by their geometric means, and effects are relative: 0.1 is ten percent more; heavy tails as those of latency need
    it. `unit` is SQL for what belongs together, where that is not the experiment's own; `shadow` says whether the
    metric means anything of answers that were not sent.

    `margin` is how much worse does not matter, `effect` the smallest change that one wants to find: it tunes the
    interval. Both are positive and in the metric's own unit, or relative with `scale="ratio"`.
    """

    name: str
    value: str = field(repr=False)
    better: Literal["higher", "lower"] = "higher"
    margin: float = 0.0
    effect: float | None = None
    bounds: Bounds | None = None
    scale: Literal["difference", "ratio"] = "difference"
    shadow: bool = True
    unit: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise UsageError(f"metric {self.name!r}: better is {self.better!r}; give 'higher' or 'lower'")
        if self.margin < 0 or (self.effect is not None and self.effect <= 0):
            raise UsageError(f"metric {self.name!r}: margin and effect are sizes; give positive numbers")
        if self.scale == "ratio" and (self.bounds is not None or self.margin >= 1):
            raise UsageError(f"metric {self.name!r}: a ratio has no bounds, and a margin below 1 (0.1 is ten percent)")

    @property
    def sign(self) -> float:
        """1 where higher is better, else -1."""
        return 1.0 if self.better == "higher" else -1.0

    @property
    def room(self) -> float:
        """The margin on the scale on which the metric is computed."""
        if self.scale == "difference":
            return self.margin
        return -math.log1p(-self.margin) if self.better == "higher" else math.log1p(self.margin)

    @property
    def size(self) -> float | None:
        """The effect on the scale on which the metric is computed."""
        return self.effect if self.effect is None or self.scale == "difference" else math.log1p(self.effect)

    def shown(self, effect: float) -> float:
        """Give an effect as it is shown, from the scale on which it is computed."""
        return effect if self.scale == "difference" else math.expm1(min(effect, 700.0))


def accuracy(margin: float = 0.0, effect: float | None = None, value: str = ACCURACY) -> Metric:
    """Judge by how many answers are what turned out to be true.

    Numbers are compared where answer and truth hold exactly one each, else their JSON; failed rows count as wrong.
    """
    return Metric("accuracy", value, "higher", margin, effect, (0.0, 1.0))


def absolute_error(margin: float = 0.0, effect: float | None = None) -> Metric:
    """Judge by the mean distance between the number in the answer and the number that turned out to be true."""
    return Metric("absolute error", "abs(output_value - truth_value)", "lower", margin, effect)


def score(margin: float = 0.0, effect: float | None = None, better: Literal["higher", "lower"] = "higher") -> Metric:
    """Judge by the score in the feedback; it was given to the answer that was sent, so a shadow has none."""
    return Metric("score", "score", better, margin, effect, shadow=False)


def failures(margin: float = 0.0, effect: float | None = None) -> Metric:
    """Judge by the share of rows that the service failed to answer (status 500 and above)."""
    return Metric("failures", "(status >= 500)::DOUBLE", "lower", margin, effect, (0.0, 1.0))


def latency(margin: float = 0.1, effect: float | None = None) -> Metric:
    """Judge by the geometric mean of the latency of rows that no cache answered, as a relative change.

    Rows that were answered together share their latency and are one unit. For a split: a shadow runs larger batches
    than the live node, so its latency says nothing of what it would be live.
    """
    value = "CASE WHEN NOT cached AND status < 400 THEN greatest(latency_ms, 0.001) END"
    return Metric("latency", value, "lower", margin, effect, scale="ratio", shadow=False, unit="time")
