"""How long an endpoint takes: measured on real rows, as seconds = a · rows + b."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.graph import settle
from hansang.models.cost import Cost
from hansang.service import Endpoint

SIZES = (1, 1, 8, 1, 32, 1, 8, 64, 1, 32)
SECONDS = 3.0
LARGEST = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """What calls of an endpoint's graph cost, in seconds: `per_row` and `per_call`."""

    per_row: float
    per_call: float
    calls: int

    def call(self, rows: float) -> float:
        """Forecast a call of this many rows."""
        return self.per_row * rows + self.per_call

    @property
    def lone(self) -> float:
        """One row alone."""
        return self.call(1)

    @property
    def capacity(self) -> float:
        """Rows a second in full batches."""
        return LARGEST / self.call(LARGEST) if self.call(LARGEST) > 0.0 else float("inf")

    def wait(self, rate: float) -> float:
        """Forecast the p99 of an answer at this rate, in rows a second; infinite when rows come faster than they go.

        While a call runs, the rows of the next one gather, so a row waits for at most one call and takes part in the
        next: two calls of the size at which `rate` rows a second come and go.
        """
        if rate >= self.capacity:
            return float("inf")
        size = min(max(rate * self.per_call / (1.0 - rate * self.per_row), 1.0), float(LARGEST))
        alone = rate * self.lone < 0.01  # hardly ever two rows at once
        return self.call(size) * (1.0 if alone else 2.0)


async def measure(endpoint: Endpoint, rows: Sequence[Any], seconds: float = SECONDS) -> Speed:
    """Call a running endpoint's graph on these rows for some seconds.

    Raises the outcome of a row that fails, for then there is nothing to measure.
    """
    cost = Cost()
    until = time.perf_counter() + seconds
    turn = 0
    while True:
        size = SIZES[turn % len(SIZES)]
        batch = Batch([rows[(turn + n) % len(rows)] for n in range(size)])
        started = time.perf_counter()
        answers = await settle(endpoint.bound, batch)
        cost.observe(size, time.perf_counter() - started)
        fault = next((row for row in answers.rows if isinstance(row, Exception)), None)
        if fault is not None:
            raise fault
        turn += 1
        if turn >= len(SIZES) and time.perf_counter() > until:
            return Speed(cost.per_row, cost.per_call, turn)
        if time.perf_counter() > until + 10.0 * seconds:
            return Speed(cost.per_row, cost.per_call, turn)
