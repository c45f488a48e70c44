"""The statistics of reports on numpy alone: scores, bootstrapped nulls, intervals, many tests at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959964


def psi(reference: NDArray[Any], current: NDArray[Any]) -> Floats:
    """Give the population stability index of counts per bin, along the last axis.

    The symmetric Kullback-Leibler divergence of the shares (Kullback and Leibler 1951; as PSI in credit scoring,
    Siddiqi 2006). Half a row is added to every bin (Jeffreys), so that an empty bin is finite.
    """
    shares = [
        (counts + 0.5) / (counts.sum(-1, keepdims=True) + 0.5 * counts.shape[-1]) for counts in (reference, current)
    ]
    p, q = shares
    score: Floats = ((q - p) * np.log(q / p)).sum(-1)
    return score


def wasserstein(reference: Floats, current: Floats) -> float:
    """Give how far values moved on average, in standard deviations of the reference; NaN where it has none.

    The area between the quantile functions (Vallender 1974), taken at 199 places.
    """
    spread = float(reference.std())
    if not spread > 0:
        return math.nan
    places = np.linspace(0.0025, 0.9975, 199)
    return float(np.abs(np.quantile(reference, places) - np.quantile(current, places)).mean() / spread)


def p_value(observed: float, null: Floats) -> float:
    """Give the share of a bootstrapped null that is at least as large, counting the observation itself.

    Davison and Hinkley 1997, 4.4: never zero, and valid for any number of draws.
    """
    return float((1 + np.count_nonzero(null >= observed - 1e-12)) / (len(null) + 1))


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, so that the chance of any false one is bounded (Holm 1979).

    Holds however the tests depend on each other.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [1.0] * len(values)
    worst = 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = worst
    return adjusted


def exceedance(beyond: int, current: int, reference: int) -> float:
    """Give the chance that so many of the new values lie above all old ones, if all are exchangeable.

    Gumbel and von Schelling 1950: exact, whatever the distribution.
    """
    if beyond <= 0:
        return 1.0
    places = np.arange(beyond, dtype=np.float64)
    return float(np.exp(np.log((current - places) / (reference + current - places)).sum()))


def wilson(hits: float, rows: float) -> tuple[float, float]:
    """Give the 95 % interval of a share (Wilson 1927); all of 0 to 1 without rows."""
    if rows <= 0:
        return 0.0, 1.0
    share, square = hits / rows, Z95 * Z95
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = Z95 / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def redraws(blocks: int, draws: int, random: np.random.Generator, size: int | None = None) -> Floats:
    """Give how often each block is drawn, one row a draw; `size` blocks are drawn with replacement, by default all."""
    return random.multinomial(size or blocks, np.full(blocks, 1 / blocks), draws).astype(np.float64)


@lru_cache(16)
def weights(blocks: int, draws: int, seed: tuple[int, ...]) -> Floats:
    """Give the redraws of a seed; kept, since the groups of a report have the same blocks."""
    return redraws(blocks, draws, np.random.default_rng(seed))


def bootstrapped(sums: Floats, draws: int, seed: tuple[int, ...]) -> Floats:
    """Redraw blocks of rows and give the sums of each draw, one row a draw.

    `sums` has one row a block and one column for each thing that is summed. The cluster bootstrap (Davison and Hinkley
    1997, 3.8): rows of a day that resemble each other do not count as so many independent ones.
    """
    redrawn: Floats = weights(len(sums), draws, seed) @ sums
    return redrawn


def interval(draws: Floats, blocks: int, value: float) -> tuple[float, float]:
    """Give the 95 % interval of a value from its bootstrap draws, widened for the small number of blocks."""
    usable = draws[np.isfinite(draws)]
    if not len(usable) or blocks < 2:
        return math.nan, math.nan
    low, high = np.quantile(usable, [0.025, 0.975])
    wider = widening(blocks)
    return value - wider * (value - float(low)), value + wider * (float(high) - value)


def widening(blocks: int) -> float:
    """Give the factor by which a bootstrap over few blocks is too narrow: its variance divides by n, not by n - 1."""
    return math.sqrt(blocks / (blocks - 1)) if blocks > 1 else 1.0


def auc(positive: NDArray[Any], negative: NDArray[Any]) -> Floats:
    """Give the area under the ROC curve from counts per bin of the score, ascending, along the last axis.

    The Mann-Whitney statistic with half for ties (Hanley and McNeil 1982); NaN where a class is empty.
    """
    below = np.cumsum(negative, -1) - negative / 2
    pairs = positive.sum(-1) * negative.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (positive * below).sum(-1) / np.where(pairs > 0, pairs, np.nan)
    return area
