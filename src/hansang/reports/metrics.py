"""Metrics of each kind of target, from sums that DuckDB makes per block of rows.

A block is a day where there are days enough, else a part of the rows chosen by their ids. Sums of blocks are all that
the intervals need, so ten million rows cost a group-by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hansang.reports.statistics import Floats, auc, bootstrapped, interval, widening, wilson

DRAWS = 10_000
FEWEST_TRUTHS = 30
SCORE_BINS = 100
Values = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Metrics:
    """How one kind of target is judged: what is summed in SQL over `p` and `t`, and what the sums say.

    `loss` is the metric that decides whether quality has become worse; `shares` are those that are shares of rows.
    Rows are also counted by `bin`, which is less than `bins`; the counts stand behind the sums.
    """

    sums: tuple[str, ...]
    values: Callable[[Floats], Values]
    loss: str
    shares: tuple[str, ...] = ()
    bin: str = ""
    bins: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """The metrics of one group of rows: value and 95 % interval by name; `draws` are those of the loss."""

    rows: int
    blocks: int
    metrics: dict[str, tuple[float, float, float]]
    draws: Floats
    loss: float

    @property
    def enough(self) -> bool:
        """Whether there are truths enough to say anything."""
        return self.rows >= FEWEST_TRUTHS and self.blocks > 1


def regression(sums: Floats) -> Values:
    """Give the metrics of numbers from: rows, absolute, plain and squared errors, truths and their squares."""
    rows, absolute, plain, squared, truths, squares = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = squares - truths * truths / rows
        return {
            "MAE": absolute / rows,
            "RMSE": np.sqrt(squared / rows),
            "bias": plain / rows,
            "relative MAE": absolute / np.abs(truths),
            "R²": 1 - squared / np.where(spread > 0, spread, np.nan),
        }


def labels(sums: Floats) -> Values:
    """Give the metrics of labels from: rows, and rows that were right."""
    rows, right = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"accuracy": right / rows, "error rate": 1 - right / rows}


def binary(sums: Floats) -> Values:
    """Give the metrics of probabilities from: rows, rows right at 0.5, squared errors, logarithmic losses, yeses.

    Behind these come the counts of the yeses and of the noes by score, for the area under the ROC curve. Brier score:
    Brier 1950.
    """
    rows, right, squared, logarithmic, truths = np.moveaxis(sums[..., :5], -1, 0)
    yes, no = sums[..., 5 : 5 + SCORE_BINS], sums[..., 5 + SCORE_BINS :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "AUC": auc(yes, no),
            "Brier score": squared / rows,
            "log loss": logarithmic / rows,
            "accuracy at 0.5": right / rows,
            "share of yes": truths / rows,
        }


LOG = "-ln(greatest(CASE WHEN t > 0.5 THEN p ELSE 1 - p END, 1e-15))"
TASKS = {
    "regression": Metrics(
        ("count(*)", "sum(abs(p - t))", "sum(p - t)", "sum((p - t) * (p - t))", "sum(t)", "sum(t * t)"),
        regression,
        "MAE",
    ),
    "labels": Metrics(("count(*)", "count(*) FILTER (p = t)"), labels, "error rate", ("accuracy", "error rate")),
    "binary": Metrics(
        (
            "count(*)",
            "count(*) FILTER ((p >= 0.5) = (t > 0.5))",
            "sum((p - t) * (p - t))",
            f"sum({LOG})",
            "sum(t)",
        ),
        binary,
        "Brier score",
        ("accuracy at 0.5", "share of yes"),
        f"CASE WHEN t > 0.5 THEN 0 ELSE {SCORE_BINS} END + least(floor(p * {SCORE_BINS}), {SCORE_BINS - 1})::INTEGER",
        2 * SCORE_BINS,
    ),
}


def judge(metrics: Metrics, sums: Floats, seed: tuple[int, ...]) -> Judged:
    """Give the metrics of a group from its sums, one row a block, with intervals from redrawn blocks.

    The interval of a share is not narrower than Wilson's, which holds for few rows and shares near 0 and 1.
    """
    blocks, rows = len(sums), int(sums[:, 0].sum())
    values = {name: float(value) for name, value in metrics.values(sums.sum(0)).items()}
    if blocks < 2 or rows < FEWEST_TRUTHS:
        return Judged(
            rows,
            blocks,
            {name: (value, np.nan, np.nan) for name, value in values.items()},
            np.zeros(0),
            values[metrics.loss],
        )
    drawn = metrics.values(bootstrapped(sums, DRAWS, seed))
    found = {}
    for name, value in values.items():
        low, high = interval(drawn[name], blocks, value)
        if name in metrics.shares:
            least, most = wilson(value * rows, rows)
            low, high = min(low, least), max(high, most)
        found[name] = (value, low, high)
    return Judged(rows, blocks, found, drawn[metrics.loss], values[metrics.loss])


def macro_f1(confusions: Floats, seed: tuple[int, ...]) -> tuple[float, float, float]:
    """Give the mean F1 score of all classes, with its interval, from a matrix per block: truth, then prediction."""
    blocks, classes, _ = confusions.shape
    drawn = bootstrapped(confusions.reshape(blocks, -1), DRAWS // 4, seed).reshape(-1, classes, classes)
    value = float(mean_f1(confusions.sum(0)))
    return value, *interval(mean_f1(drawn), blocks, value)


def mean_f1(confusion: Floats) -> Floats:
    """Give the mean F1 score of matrices; a class that is neither true nor said counts for nothing."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = confusion.sum(-1) + confusion.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.nanmean(np.where(both > 0, 2 * right / both, np.nan), -1)
    return mean


def worse(before: Judged, now: Judged) -> float:
    """Give the one-sided p-value that the loss has not grown: the share of redrawn differences that are not above 0."""
    pairs = [(each.loss + widening(each.blocks) * (each.draws - each.loss)) for each in (before, now)]
    difference: NDArray[np.float64] = pairs[1] - pairs[0]
    difference = difference[np.isfinite(difference)]
    return float((1 + np.count_nonzero(difference <= 0)) / (len(difference) + 1))
