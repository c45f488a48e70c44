"""The verdict on one metric: the effect, an interval that holds at every look, and one word."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hansang.rollout.arm import Arm, Numbers
from hansang.rollout.metric import PLANNED, Metric
from hansang.rollout.sequence import LEAST, boundary, needed

Word = Literal["better", "no worse", "worse", "undecided"]
FAR = 1e6  # a forecast of more than so many times the sample is not told as a number
POWER = 0.9


@dataclass(frozen=True, slots=True)
class Effect:
    """Challenger minus champion, with its variance; `units` of both arms, `least` of the smaller one.

    Fields may be arrays.
    """

    estimate: Numbers
    variance: Numbers
    units: Numbers
    least: Numbers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one metric.

    `effect`, `low` and `high` are challenger minus champion, relative where the metric's scale is a ratio; the interval
    holds at all looks together with a probability of 1 - `alpha`. `more` is about how many units are still needed,
    as things stand; None when decided, or when no number can be told.
    """

    metric: str
    word: Word
    champion: float
    challenger: float
    effect: float
    low: float
    high: float
    units: int
    unit: str
    more: int | None
    alpha: float
    why: str

    def __str__(self) -> str:
        if self.word != "undecided":
            return self.word
        return f"undecided (about {self.more:,} more)" if self.more is not None else f"undecided ({self.why})"


def unpaired(champion: Arm, challenger: Arm, metric: Metric, alpha: float = 0.05) -> Effect:
    """Compare two arms of different units, as those of a split: the difference of means.

    A unit of either arm counts with the larger of its own variance and that of both arms together: a small arm that has
    not seen the rare event or the long tail yet would take its own mean for certain. Without this, one to nine splits
    of a rate of 1 % gave 7 % false verdicts instead of 5 %.

    With bounds, log(1/alpha) rows are added at either end, as Wilson's interval adds half of the squared quantile: with
    one row, intervals of a tenth with a rate of 5 % missed the true difference in 8 %.
    """
    units = champion.units + challenger.units
    own = [arm.variance(metric.bounds, -math.log(alpha)) * arm.units for arm in (champion, challenger)]
    both = (own[0] * champion.units + own[1] * challenger.units) / np.maximum(units, 1.0)
    variance = np.maximum(own[0], both) / np.maximum(champion.units, 1.0)
    variance = variance + np.maximum(own[1], both) / np.maximum(challenger.units, 1.0)
    return Effect(challenger.mean - champion.mean, variance, units, np.minimum(champion.units, challenger.units))


def paired(differences: Arm, metric: Metric, alpha: float = 0.05) -> Effect:
    """Compare two answers to the same rows, as those of a shadow: the mean of challenger minus champion.

    With bounds, log(1/alpha) differences are thought at either end, as in `unpaired`.
    """
    bounds = (
        None if metric.bounds is None else (metric.bounds[0] - metric.bounds[1], metric.bounds[1] - metric.bounds[0])
    )
    return Effect(
        differences.mean, differences.variance(bounds, -math.log(alpha)), differences.units, differences.units
    )


def progress(effect: Effect, metric: Metric, alpha: float) -> Numbers:
    """Give which part of the planned information is there; 1 is where the interval is tightest."""
    if metric.size is None:
        return effect.units / PLANNED
    return metric.size**2 / np.maximum(effect.variance, 1e-300) / needed(alpha, POWER)


def half_width(effect: Effect, metric: Metric, alpha: float) -> Numbers:
    """Give half of the interval's width; infinite while an arm has fewer than `LEAST` units."""
    width = boundary(progress(effect, metric, alpha), alpha) * np.sqrt(effect.variance)
    return np.where(np.asarray(effect.least) >= LEAST, width, np.inf)


def decide(low: Numbers, high: Numbers, margin: float = 0.0) -> np.ndarray:
    """Give the words for intervals of which positive is better.

    All words follow from one interval: as long as it holds the true effect, none is false. A loss within the margin
    is `no worse`.
    """
    return np.select(
        [np.asarray(low) > 0, (np.asarray(low) > -margin) & (margin > 0), np.asarray(high) < 0],
        ["better", "no worse", "worse"],
        "undecided",
    )


def judge(
    metric: Metric,
    champion: Arm,
    challenger: Arm,
    differences: Arm | None = None,
    alpha: float = 0.05,
    unit: str = "rows",
) -> Verdict:
    """Judge one metric at the error `alpha`; with `differences` (of the same rows) the test is paired.

    Of k metrics of one experiment each gets alpha/k, so that all verdicts of all looks together keep alpha
    (Bonferroni). With `scale="ratio"` the arms are of logarithms. The verdict is `undecided` while an arm has fewer
    than 100 units.
    """

    def grown(factor: float) -> Effect:
        if differences is not None:
            return paired(differences.times(factor), metric, alpha)
        return unpaired(champion.times(factor), challenger.times(factor), metric, alpha)

    effect = grown(1.0)
    half = float(half_width(effect, metric, alpha))
    centre = float(effect.estimate)
    good = metric.sign * centre
    word: Word = decide(good - half, good + half, metric.room).item()
    more, why = forecast(grown, metric, alpha) if word == "undecided" else (None, "")
    return Verdict(
        metric.name,
        word,
        level(champion, metric),
        level(challenger, metric),
        metric.shown(centre),
        metric.shown(centre - half),
        metric.shown(centre + half),
        int(effect.units),
        unit,
        more,
        alpha,
        why,
    )


def level(arm: Arm, metric: Metric) -> float:
    """Give an arm's mean as it is shown."""
    mean = float(arm.mean)
    return mean if metric.scale == "difference" else math.exp(mean)


def forecast(grown: Callable[[float], Effect], metric: Metric, alpha: float) -> tuple[int | None, str]:
    """Give about how many more units the nearest verdict needs, if all stays as it is.

    `grown` gives the effect with so many times the units. Without such a number, why.
    """
    now = grown(1.0)
    units, least = float(now.units), float(now.least)
    if least < 2:
        return None, "no rows with a value yet" if units == 0 else "one arm has no rows yet"
    oriented = metric.sign * float(now.estimate)
    gap = max(abs(oriented), oriented + metric.room)

    def is_open(factor: float) -> bool:
        return float(half_width(grown(factor), metric, alpha)) >= gap

    low, high = 1.0, FAR
    if is_open(high):
        return None, "no difference in sight"
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_open(middle) else (low, middle)
    return math.ceil(units * (high - 1.0)), "too few units"
