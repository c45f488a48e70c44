"""What is known of one side of an experiment: sums, from which mean and variance follow, by row or by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = float | Floats  # one experiment, or one a place of an array: simulations judge thousands at once
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """The sums of one side: `units` are the rows, or the keys whose rows belong together.

    `total` and `squares` are over rows. `unit_squares`, `unit_cross` and `unit_rows_squared` are, over units, the sums
    of total², total x rows and rows², from which the variance of a ratio follows (delta method). Every field may be an
    array of the same shape.
    """

    units: Numbers
    rows: Numbers
    total: Numbers
    squares: Numbers
    unit_squares: Numbers
    unit_cross: Numbers
    unit_rows_squared: Numbers

    @classmethod
    def of_rows(cls, rows: Numbers, total: Numbers, squares: Numbers) -> Arm:
        """Make an arm of rows that have nothing to do with each other, from their sums."""
        return cls(rows, rows, total, squares, squares, total, rows)

    @classmethod
    def of(cls, values: npt.ArrayLike, keys: Sequence[Any] | npt.NDArray[Any] | None = None) -> Arm:
        """Make an arm from a value for each row and, where rows of a key belong together, the key of each row."""
        numbers = np.asarray(values, np.float64)
        if keys is None:
            return cls.of_rows(float(numbers.size), float(numbers.sum()), float(np.square(numbers).sum()))
        _, unit = np.unique(np.asarray(keys), return_inverse=True)
        rows = np.bincount(unit).astype(np.float64)
        totals = np.bincount(unit, weights=numbers)
        return cls(
            float(rows.size),
            float(numbers.size),
            float(numbers.sum()),
            float(np.square(numbers).sum()),
            float(np.square(totals).sum()),
            float((totals * rows).sum()),
            float(np.square(rows).sum()),
        )

    def times(self, factor: float) -> Arm:
        """Give the arm as it would be with so many times the units, all else as it is."""
        return Arm(*(getattr(self, each.name) * factor for each in fields(self)))

    @property
    def mean(self) -> Numbers:
        """The mean over rows; of keys, the ratio of their totals to their rows."""
        mean: Numbers = self.total / np.maximum(self.rows, 1.0)
        return mean

    def variance(self, bounds: Bounds | None = None, extra: float = 1.0) -> Numbers:
        """Give the variance of the mean, by units.

        With `bounds` it is at least that of the rows with `extra` more at either end, for a rate of k in n that is
        (k + extra)/(n + 2 extra): the first estimates of a rare event's variance are 0, and an interval of width 0 is a
        false verdict. The ratio's variance is the delta method's: Deng, Knoblich and Lu, "Applying the delta method in
        metric analytics" (KDD 2018).
        """
        mean, rows = self.mean, np.maximum(self.rows, 1.0)
        spread = self.unit_squares - 2.0 * mean * self.unit_cross + mean * mean * self.unit_rows_squared
        by_unit: Numbers = np.maximum(spread, 0.0) * self.units / np.maximum(self.units - 1.0, 1.0) / rows**2
        if bounds is None:
            return by_unit
        low, high = bounds
        count = rows + 2.0 * extra
        centre = (self.total + extra * (low + high)) / count
        floor = ((self.squares + extra * (low * low + high * high)) / count - centre * centre) / rows
        larger: Numbers = np.maximum(by_unit, floor)
        return larger
