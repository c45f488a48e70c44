"""Handing the files of a record to one sink: in order, again after a failure, and past rows that it will never take."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq

from hansang.record.files import file_time, parquet_files, size_of
from hansang.record.record import nudge
from hansang.record.segment import KINDS
from hansang.record.sinks.position import Positions
from hansang.record.sinks.quarantine import quarantine
from hansang.record.sinks.sink import Parcel, Refused, Sink

log = logging.getLogger("hansang.record")

FIRST_WAIT, LAST_WAIT = 0.5, 60.0  # seconds between attempts
ATTEMPTS = 8  # of a parcel of which no row is taken, until it is put aside
SAMPLE = 20  # rows refused in a row, none taken: it is the sink, not the rows
LONGEST_TEXT = 500


class AllRefused(Exception):
    """A sink takes none of a parcel's rows; perhaps its table is wrong, and somebody repairs it."""


@dataclass(slots=True)
class Delivery:
    """Brings one sink up to date; `run` follows the record until `ending` is set, then delivers what is there.

    `news` is set by whoever knows that there are new files; `resting` says that it waits for that. The first failure
    after `ending` ends it.
    """

    folder: Path
    name: str
    make: Callable[[], Sink]
    positions: Positions
    news: Event = field(default_factory=Event)
    ending: Event = field(default_factory=Event)
    resting: Event = field(default_factory=Event)
    until: float = math.inf
    jitter: Callable[[], float] = random.random
    failures: int = 0
    stuck: dict[str, int] = field(default_factory=dict)
    rows_of: dict[str, int] = field(default_factory=dict)
    said: str = ""

    def run(self) -> None:
        """Deliver until the end; whatever goes wrong is noted and tried again."""
        while True:
            try:
                with self.make() as sink:
                    self.follow(sink)
                return
            except Exception as error:  # each sink has errors of its own
                self.fail(error)
            if self.ending.is_set():
                return
            self.rest()

    def follow(self, sink: Sink) -> None:
        """Deliver what waits, and then what comes."""
        while True:
            self.news.clear()
            ends = self.ending.is_set()
            self.catch_up(sink)
            if ends or time.monotonic() > self.until:
                return
            self.resting.set()
            self.news.wait()
            self.resting.clear()

    def catch_up(self, sink: Sink) -> None:
        """Deliver every file that waits, then let the compactor see what need not wait any more."""
        self.measure()
        for path, had in (waiting := self.waiting()):
            done, rows = had, self.count(path)
            if rows == 0:
                self.positions.advance(self.name, path, 0, 0, complete=True)
            while rows and done < rows:
                if time.monotonic() > self.until:
                    return
                done = self.hand_over(sink, self.parcel(sink, path, done, rows))
            self.measure()
        if waiting:
            nudge(self.folder)

    def waiting(self) -> list[tuple[Path, int]]:
        """Give the files that wait, oldest first, with the number of rows that the sink has of each."""
        files = [path for kind in KINDS for path in parquet_files(self.folder, kind)]
        return self.positions.waiting(self.name, sorted(files, key=lambda path: path.name))

    def count(self, path: Path) -> int | None:
        """Count the rows of a file; None when it is gone."""
        with suppress(FileNotFoundError):
            if path.name not in self.rows_of:
                self.rows_of[path.name] = pq.read_metadata(path).num_rows
            return self.rows_of[path.name]
        return None

    @staticmethod
    def parcel(sink: Sink, path: Path, done: int, rows: int) -> Parcel:
        """Give the next parcel of a file; parcels are cut at the same places every time."""
        size = sink.most_rows or rows
        end = min((done // size + 1) * size, rows)
        return Parcel(path, path.parent.parent.name, done, end - done)

    # --- one parcel ---

    def hand_over(self, sink: Sink, parcel: Parcel) -> int:
        """Deliver a parcel, or put aside what the sink refuses; gives the rows that the sink has of the file then."""
        reasons = self.attempt(sink, parcel)
        if reasons:
            path = quarantine(self.folder, self.name, parcel, reasons)
            self.say(f"{len(reasons)} rows are refused and kept in {path.name}: {next(iter(reasons.values()))}")
        done = parcel.start + parcel.rows
        complete = done >= (self.count(parcel.path) or 0)
        self.positions.advance(self.name, parcel.path, done, parcel.rows, complete=complete, quarantined=len(reasons))
        self.failures = 0
        self.stuck.clear()
        return done

    def attempt(self, sink: Sink, parcel: Parcel) -> dict[int, str]:
        """Deliver a parcel; gives the rows that are refused, by their places, with the reasons."""
        reasons: dict[int, str] = {}
        taken = 0
        parts = [parcel]
        while parts:
            part = parts.pop()
            at = part.start - parcel.start
            try:
                sink.deliver(part)
                taken += part.rows
            except Refused as refusal:
                if refusal.rows:
                    taken += part.rows - len(refusal.rows)
                    reasons |= {at + place: text[:LONGEST_TEXT] for place, text in refusal.rows.items()}
                elif part.rows == 1:
                    reasons[at] = str(refusal)[:LONGEST_TEXT]
                else:
                    parts += reversed(part.halves())
            if not taken and len(reasons) >= min(SAMPLE, parcel.rows) and self.is_worth_waiting(parcel):
                raise AllRefused(f"it takes no row: {next(iter(reasons.values()))}")
            if not taken and len(reasons) >= SAMPLE:
                why = next(iter(reasons.values()))
                return {place: reasons.get(place, why) for place in range(parcel.rows)}
        return reasons

    def is_worth_waiting(self, parcel: Parcel) -> bool:
        """Count the attempts at a parcel that is refused as a whole; a single row is never worth it."""
        self.stuck[parcel.name] = self.stuck.get(parcel.name, 0) + 1
        return parcel.rows > 1 and self.stuck[parcel.name] < ATTEMPTS

    # --- how it goes ---

    def fail(self, error: Exception) -> None:
        """Note a failure."""
        self.failures += 1
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_TEXT]
        self.positions.failed(self.name, text)
        with suppress(Exception):  # the failure may be of the record itself
            self.measure()
        self.say(f"waits: {text}")

    def rest(self) -> None:
        """Wait before the next attempt: longer each time, and not all replicas at once."""
        longest = min(FIRST_WAIT * 2.0 ** min(self.failures - 1, 30), LAST_WAIT)
        self.ending.wait(longest * (0.5 + 0.5 * self.jitter()))

    def measure(self) -> None:
        """Note how much waits."""
        rows = size = 0
        oldest = None
        for path, done in self.waiting():
            count = self.count(path)
            if count is not None:
                rows += count - done
                size += size_of(path)
                oldest = oldest or file_time(path)
        self.positions.behind(self.name, rows, size, oldest)

    def say(self, text: str) -> None:
        """Tell the operator, once in a row."""
        if text != self.said:
            self.said = text
            log.warning("sink %s %s", self.name, text)
