"""A feature in both windows: its values binned, and how many fell into each bin on each day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hansang.reports.statistics import Floats

BINS = 10
FEW_VALUES = 12
MOST_WORDS = 20
WORDY = 50  # different texts from which a text may be free text
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Side:
    """The values of one window; `missing` says where there is none, `day` numbers the days from 0."""

    values: NDArray[Any]
    missing: NDArray[np.bool_]
    day: Integers
    days: int

    @property
    def present(self) -> NDArray[Any]:
        """The values that are there."""
        found: NDArray[Any] = self.values[~self.missing]
        return found


@dataclass(frozen=True, slots=True)
class Binned:
    """Counts per day and bin of both windows; the last bin counts the missing, the others are named by `labels`.

    `edges` are those of a feature that was cut by quantiles, else None. `beyond` are the shares of the window's values
    below and above everything in the reference, or of texts that the reference never had.
    """

    labels: list[str]
    reference: Floats
    current: Floats
    edges: Floats | None = None

    @property
    def constant(self) -> bool:
        """Whether both windows know one and the same value, and nothing else."""
        both = self.reference.sum(0) + self.current.sum(0)
        return bool(np.count_nonzero(both) <= 1)


def binned(reference: Side, current: Side) -> Binned:
    """Cut a feature into bins that the reference gives.

    Numbers by quantiles of the reference, ten bins; few different numbers and texts by value, with a bin for what the
    reference never had.
    """
    old = reference.present
    if old.dtype.kind == "f":
        values = np.unique(old)
        if len(values) > FEW_VALUES:
            edges = np.unique(np.quantile(old, np.linspace(0, 1, BINS + 1)[1:-1]))
            labels = [f"below {edges[0]:.3g}"]
            labels += [f"{low:.3g} to {high:.3g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
            labels += [f"from {edges[-1]:.3g}"]
            ends = np.concatenate([[old.min()], edges, [old.max()]])
            before, now = (
                count(side, np.searchsorted(edges, side.values, side="right"), len(labels))
                for side in (reference, current)
            )
            return Binned(labels, before, now, ends)
        labels = [f"{value:.6g}" for value in values]
    else:
        words, counts = np.unique(old.astype(str), return_counts=True)
        values = np.sort(words[np.argsort(-counts, kind="stable")[:MOST_WORDS]])
        labels = [str(word) for word in values]
        if len(words) > MOST_WORDS:
            return by_value(reference, current, values, [*labels, "others"], np.sort(words))
    return by_value(reference, current, values, labels)


def by_value(
    reference: Side, current: Side, values: NDArray[Any], labels: list[str], known: NDArray[Any] | None = None
) -> Binned:
    """Count each value; what only others of the reference have is `others`, what it never had is `new`."""
    counted = []
    for side in (reference, current):
        given = side.values if values.dtype.kind == "f" else side.values.astype(str)
        codes = np.full(len(given), len(labels), np.int64)
        if known is not None:
            codes[found(given, known)[1]] = len(labels) - 1
        places, there = found(given, values)
        codes[there] = places[there]
        counted.append(count(side, codes, len(labels) + 1))
    return Binned([*labels, "new"], counted[0], counted[1])


def found(given: NDArray[Any], values: NDArray[Any]) -> tuple[Integers, NDArray[np.bool_]]:
    """Find values among sorted ones."""
    if not len(values):
        return np.zeros(len(given), np.int64), np.zeros(len(given), np.bool_)
    places = np.minimum(np.searchsorted(values, given), len(values) - 1)
    there: NDArray[np.bool_] = values[places] == given
    return places, there


def count(side: Side, codes: Integers, bins: int) -> Floats:
    """Count rows by day and bin, with one bin more for the missing."""
    codes = np.where(side.missing, bins, codes)
    flat = np.bincount(side.day * (bins + 1) + codes, minlength=side.days * (bins + 1))
    return flat.reshape(side.days, bins + 1).astype(np.float64)


def is_free_text(values: NDArray[Any]) -> bool:
    """Say whether texts are too many different ones to be counted by value."""
    return len(values) > 0 and len(np.unique(values.astype(str))) > max(WORDY, 0.2 * len(values))
