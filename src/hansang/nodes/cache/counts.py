"""What a cache counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from hansang.site import Site

QUIET = 60.0

log = logging.getLogger("hansang")


class Tally:
    """A counter of a node that runs in no service."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.value += amount

    def set(self, value: float) -> None:
        """Set it."""
        self.value = value


class Counts:
    """Rows by how they were answered, what is kept, and what could not be; says so in the log, once a minute."""

    def __init__(self, label: str, site: Site | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.label, self.site, self.clock = label, site, clock
        self.hit: Any = self._rows("hit")
        self.miss: Any = self._rows("miss")
        self.joined: Any = self._rows("joined")
        self.bypass: Any = self._rows("bypass")
        self.errors: dict[str, Any] = {}
        self._told: dict[str, float] = {}
        self._entries: Any = Tally()
        self._bytes: Any = Tally()
        if site is not None:
            self._entries = site.gauge("hansang_cache_entries", "Rows that a cache keeps in memory.", node=label)
            self._bytes = site.gauge("hansang_cache_bytes", "Bytes that a cache keeps in memory.", node=label)

    def _rows(self, result: str) -> Any:
        if self.site is None:
            return Tally()
        text = "Rows of a cached node, by how they were answered."
        return self.site.counter("hansang_cache_rows_total", text, node=self.label, result=result)

    def size(self, entries: int, size: int) -> None:
        """Note what is kept."""
        self._entries.set(entries)
        self._bytes.set(size)

    def unkept(self, reason: str, error: object, rows: int = 1) -> None:
        """Count what the store could not do; `reason` is `value`, `large`, `unreachable`, `unreadable` or `dropped`."""
        counter = self.errors.get(reason)
        if counter is None:
            counter = Tally()
            if self.site is not None:
                text = "What the store of a cache could not do, by reason."
                counter = self.site.counter("hansang_cache_store_errors_total", text, node=self.label, reason=reason)
            self.errors[reason] = counter
        counter.add(rows)
        now = self.clock()
        if now - self._told.get(reason, float("-inf")) >= QUIET:
            self._told[reason] = now
            log.warning(f"%s: {TEXTS[reason]}", self.label, error)  # the filters of the log must see the error


TEXTS = {
    "value": "an answer cannot be kept as it is, so it is computed anew each time: %s",
    "large": "an answer is not kept: %s",
    "unreachable": "the cache's store does not answer; rows are computed without it until it does: %s",
    "unreadable": "an entry of the cache's store cannot be read, so it is computed anew: %s",
    "dropped": "the cache's store takes answers too slowly; some are not kept: %s",
}
