"""Moves payloads from beside the record into an object store, again after a failure, and keeps that in its limits."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from hansang.record.payloads import Place, payload_files, too_old
from hansang.record.sinks.objects import store_at

FIRST_WAIT, LAST_WAIT = 1.0, 60.0  # seconds between attempts
HOUR = 3600.0


@dataclass(slots=True)
class Mover:
    """Follows the payloads of one record like a delivery to a sink does its files; see `Delivery`."""

    folder: Path
    place: Place
    news: Event = field(default_factory=Event)
    ending: Event = field(default_factory=Event)
    until: float = math.inf
    name: str = "payloads"
    swept: float = -math.inf
    said: str = ""

    def run(self) -> None:
        """Move until the end; whatever goes wrong is tried again."""
        failures = 0
        while True:
            try:
                self.move()
                failures = 0
            except Exception as error:  # each client has errors of its own
                failures += 1
                self.say(f"{type(error).__name__}: {error}")
            if self.ending.is_set():
                return
            wait = min(FIRST_WAIT * 2.0**failures, LAST_WAIT) if failures else HOUR
            (self.ending if failures else self.news).wait(wait)
            self.news.clear()

    def move(self) -> None:
        """Put every payload that waits, and let go of it here when it is there."""
        store: Any = None
        for path in payload_files(self.folder):
            if time.monotonic() > self.until:
                return
            store = store or store_at(self.place.url)
            store.put(f"{path.parent.name}/{path.name}", path)
            path.unlink(missing_ok=True)
        if time.monotonic() - self.swept > HOUR and (self.place.days is not None or self.place.bytes is not None):
            self.swept = time.monotonic()
            self.sweep(store or store_at(self.place.url))

    def sweep(self, store: Any) -> None:
        """Delete what the store need not keep any longer."""
        files = sorted(store.list())
        gone = too_old([(moment, size) for moment, size, _ in files], self.place, time.time())
        for _, _, name in files[:gone]:
            store.delete(name)

    def say(self, text: str) -> None:
        """Tell the operator, once."""
        if text != self.said:
            self.said = text
            with suppress(OSError):
                print(f"record: the payloads wait: {text}", file=sys.stderr, flush=True)
