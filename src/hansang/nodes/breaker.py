"""An error-rate breaker over a sliding window: a node that keeps failing is not asked for a while.

The states and their names are those of M. Nygard, Release It!; the count over a window of time follows Resilience4j.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hansang.errors import UsageError

CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"
SLICES = 10


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a node is not asked any more, and when it is tried again.

    It opens when, within the last `window` seconds, at least `min_rows` rows were answered and the share of those that
    failed reached `error_rate`. After `open_for` seconds it is half open: `probes` rows go through while the others do
    not; it closes when fewer than `error_rate` of them fail, and opens again otherwise.
    """

    error_rate: float = 0.5
    min_rows: int = 20
    window: float = 10.0
    open_for: float = 5.0
    probes: int = 5

    def __post_init__(self) -> None:
        if not 0.0 < self.error_rate <= 1.0:
            raise UsageError(f"the error_rate of a breaker is a share above 0 and at most 1, got {self.error_rate!r}")
        for name in ("min_rows", "window", "open_for", "probes"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} of a breaker must be above 0, got {getattr(self, name)!r}")


class Circuit:
    """A breaker at work, in one process.

    `turn` counts the changes of state: what was sent in an earlier turn says nothing about this one. Probes that have
    no outcome after `open_for` seconds are given up, and others are sent.
    """

    __slots__ = ("_bad", "_clock", "_rows", "_since", "_slices", "_taken", "breaker", "openings", "state", "turn")

    def __init__(self, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self.breaker = breaker
        self.state = CLOSED
        self.turn = 0
        self.openings = 0
        self._clock = clock
        self._since = clock()
        self._slices: deque[list[float]] = deque()
        self._rows = self._bad = self._taken = 0

    def admit(self, rows: int) -> int:
        """Say how many of these rows may go through now."""
        if self.state == CLOSED:
            return rows
        now = self._clock()
        if now - self._since >= self.breaker.open_for:
            self._become(HALF_OPEN, now)
        if self.state == OPEN:
            return 0
        admitted = min(rows, self.breaker.probes - self._taken)
        self._taken += admitted
        return admitted

    def note(self, good: int, bad: int, neither: int = 0, *, turn: int) -> None:
        """Take the outcomes of rows that went through in a turn; `neither` are those that say nothing of the node."""
        if turn != self.turn:
            return
        now = self._clock()
        if self.state == CLOSED:
            self._slide(now, good + bad, bad)
            if bad and self._rows >= self.breaker.min_rows and self._bad >= self.breaker.error_rate * self._rows:
                self._become(OPEN, now)
            return
        self._taken -= neither
        self._rows += good + bad
        self._bad += bad
        if self._bad >= self.breaker.error_rate * self.breaker.probes:
            self._become(OPEN, now)
        elif self._rows >= self.breaker.probes:
            self._become(CLOSED, now)

    def _slide(self, now: float, rows: int, bad: int) -> None:
        """Count rows in the slice of now, and forget the slices that have left the window."""
        slices, width = self._slices, self.breaker.window / SLICES
        number = now // width
        while slices and slices[0][0] <= number - SLICES:
            _, old_rows, old_bad = slices.popleft()
            self._rows -= int(old_rows)
            self._bad -= int(old_bad)
        if not slices or slices[-1][0] != number:
            slices.append([number, 0, 0])
        slices[-1][1] += rows
        slices[-1][2] += bad
        self._rows += rows
        self._bad += bad

    def _become(self, state: str, now: float) -> None:
        self.openings += state == OPEN
        self.state, self._since = state, now
        self.turn += 1
        self._slices.clear()
        self._rows = self._bad = self._taken = 0
