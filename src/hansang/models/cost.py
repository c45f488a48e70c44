"""What a model call costs, learned from its calls: seconds = a · rows + b."""

from __future__ import annotations

import math


class Cost:
    """A line through the last calls, fitted by least squares with exponentially fading weights.

    `per_row` is a and `per_call` is b, in seconds; both are never negative. With calls of one size only, the whole
    time is taken as `per_call`. A memory of about 100 calls follows a model that becomes slower. The first call of a
    model is not like the others: it is forgotten at the second.
    """

    __slots__ = ("_n", "_nn", "_nt", "_t", "_w", "calls", "fade", "per_call", "per_row")

    def __init__(self, memory: int = 100) -> None:
        self.fade = 1.0 - 1.0 / memory
        self.calls = 0
        self.per_row = 0.0
        self.per_call = 0.0
        self._w = self._n = self._nn = self._t = self._nt = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from one call."""
        fade = self.fade if self.calls != 1 else 0.0
        self.calls += 1
        self._w = self._w * fade + 1.0
        self._n = self._n * fade + rows
        self._nn = self._nn * fade + rows * rows
        self._t = self._t * fade + seconds
        self._nt = self._nt * fade + rows * seconds
        spread = self._w * self._nn - self._n * self._n
        if spread > 1e-9 * self._nn * self._w:
            slope = (self._w * self._nt - self._n * self._t) / spread
            self.per_row = min(max(slope, 0.0), self._t / self._n)
        self.per_call = max((self._t - self.per_row * self._n) / self._w, 0.0)

    def predict(self, rows: int) -> float:
        """Forecast the seconds of a call with this many rows; 0 before the first call."""
        return self.per_row * rows + self.per_call

    def worthwhile(self, most: int) -> int:
        """Give the largest batch that still pays, up to `most` rows.

        Beyond it less than a twentieth of the time is shared between the rows, so a larger batch only makes its first
        rows wait; for a model whose time is proportional to its rows this is 1.
        """
        if self.calls < 8 or self.per_row <= 0.0:
            return most
        return max(1, min(most, math.ceil(19.0 * self.per_call / self.per_row)))
