"""How many rows an experiment needs before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hansang.errors import UsageError
from hansang.rollout.sequence import LEAST, needed


@dataclass(frozen=True, slots=True)
class Plan:
    """The planned sample: `total` units, of which the arms get their share; in a shadow each unit is a pair."""

    total: int
    champion: int
    challenger: int
    effect: float
    power: float
    alpha: float


def plan(
    baseline: float,
    effect: float,
    power: float = 0.9,
    split: float = 0.5,
    *,
    alpha: float = 0.05,
    deviation: float | None = None,
    metrics: int = 1,
) -> Plan:
    """Plan a split: the units after which a change by `effect` is seen with this power, however often one looks.

    `split` is the challenger's share. `baseline` is a rate, of which the change makes `baseline + effect`; of another
    metric give the standard deviation of a unit as `deviation`, and `baseline` does not matter. For "no worse", give
    the margin as `effect`. With a sequential interval this is 1.8 times what a single look would need; what is clear
    earlier is seen earlier. Give the metric the same `effect`, so that its interval is tightest here.
    """
    check(effect, power, alpha, metrics)
    if not 0 < split < 1:
        raise UsageError(f"plan: split is {split}; give the challenger's share, between 0 and 1")
    if deviation is None:
        if not (0 <= baseline <= 1 and 0 <= baseline + effect <= 1):
            raise UsageError(f"plan: {baseline} and {baseline + effect} are no rates; give the deviation of a unit")
        first, second = (rate * (1 - rate) for rate in (baseline, baseline + effect))
    else:
        first = second = deviation**2
    both = first * (1 - split) + second * split
    first, second = max(first, both), max(second, both)  # as `verdict.unpaired` counts them
    information = needed(alpha / metrics, power) / effect**2
    total = max((first / (1 - split) + second / split) * information, LEAST / min(split, 1 - split))
    challenger = math.ceil(total * split)
    champion = math.ceil(total * (1 - split))
    return Plan(champion + challenger, champion, challenger, effect, power, alpha)


def plan_pairs(
    effect: float,
    power: float = 0.9,
    *,
    disagreement: float | None = None,
    deviation: float | None = None,
    alpha: float = 0.05,
    metrics: int = 1,
) -> Plan:
    """Plan a shadow: the pairs after which a change by `effect` is seen with this power, however often one looks.

    `disagreement` is the share of rows of which exactly one side is right; of a metric that is no rate, give the
    standard deviation of the differences as `deviation`.
    """
    check(effect, power, alpha, metrics)
    if (disagreement is None) == (deviation is None):
        raise UsageError("plan: give either disagreement, the share of rows where one side is right, or deviation")
    if disagreement is not None and not abs(effect) <= disagreement <= 1:
        raise UsageError(
            f"plan: a disagreement of {disagreement} allows no effect of {effect}; it is at least as large"
        )
    variance = deviation**2 if deviation is not None else (disagreement or 0.0) - effect**2
    pairs = max(math.ceil(variance * needed(alpha / metrics, power) / effect**2), LEAST)
    return Plan(pairs, pairs, pairs, effect, power, alpha)


def check(effect: float, power: float, alpha: float, metrics: int) -> None:
    """Refuse what no plan can be made of."""
    if effect == 0 or not math.isfinite(effect):
        raise UsageError(f"plan: effect is {effect}; give the smallest change that is worth finding")
    if not (0 < power < 1 and 0 < alpha < 1 and metrics >= 1):
        raise UsageError("plan: power and alpha are probabilities between 0 and 1, metrics is at least 1")
