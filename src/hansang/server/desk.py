"""Takes feedback: looks whether the prediction is there, writes all that came in a turn at once, then answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hansang.errors import NotFound, Problem, RecordError, Unavailable
from hansang.metrics import Counter
from hansang.record import Recorder
from hansang.record.feedback import Feedback
from hansang.record.keep import retention_words
from hansang.record.known import Known
from hansang.record.truths import Truths
from hansang.server.feedback_rows import Line

log = logging.getLogger("hansang")

COUNTED = "Rows of feedback, by what became of them."


@dataclass(slots=True, eq=False)
class Entry:
    """One request's feedback; `done` is told the ids that are not in the record, or why nothing was written."""

    lines: list[Line]
    key: str | None
    old: list[str]
    done: Callable[[frozenset[str] | Problem], None]


class Desk:
    """Where feedback is handed in.

    A prediction that is two minutes old or younger is believed to be there: another process may just be writing it.
    Of all others the record is asked, in a thread, for all requests that came meanwhile at once.
    """

    def __init__(
        self, recorder: Recorder, *, check: bool, counter: Callable[..., Counter], truths: Truths | None = None
    ) -> None:
        self.truths = truths
        self.recorder = recorder
        self.check = check
        self.known = Known(recorder.folder)
        self._counters = {
            name: counter("hansang_feedback_rows_total", COUNTED, result=name)
            for name in ("accepted", "not_found", "invalid", "lost")
        }
        self._waiting: list[Entry] = []
        self._looking: list[Entry] = []
        self._task: asyncio.Task[None] | None = None
        self._last = 0.0

    @property
    def folder(self) -> Path:
        """The folder of the record."""
        return self.recorder.folder

    def count(self, result: str, rows: int) -> None:
        """Count rows of feedback."""
        if rows:
            self._counters[result].add(rows)

    def hand_in(self, lines: list[Line], key: str | None, done: Callable[[frozenset[str] | Problem], None]) -> None:
        """Write feedback, then tell `done` the ids of which there is no prediction; their rows are not written.

        What was written by then survives the death of this process. When the record cannot be written, `done` is told
        `Unavailable`.
        """
        if self.truths is not None:
            lines = [line._replace(truth=self.truths(line.truth)) for line in lines]
        recent = self.known.is_recent
        old = [line.id for line in lines if not recent(line.id)] if self.check else []
        entry = Entry(lines, key, old, done)
        if old:
            self._looking.append(entry)
            if self._task is None:
                self._task = asyncio.create_task(self._look(), context=Context())  # for all requests
        else:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._write_waiting)
            self._waiting.append(entry)

    async def _look(self) -> None:
        """Ask the record for predictions, as long as somebody wants to know."""
        try:
            while self._looking:
                entries, self._looking = self._looking, []
                ids = [id for entry in entries for id in entry.old]
                try:
                    missing = frozenset(await asyncio.to_thread(self.known.missing, ids))
                except Exception as error:
                    log.exception("the record could not be asked for predictions")
                    settle(entries, Unavailable(f"the record cannot be read: {type(error).__name__}", retry_after=1.0))
                else:
                    self._write(entries, missing)
        finally:
            self._task = None

    def _write_waiting(self) -> None:
        entries, self._waiting = self._waiting, []
        self._write(entries, frozenset())

    def _write(self, entries: list[Entry], missing: frozenset[str]) -> None:
        """Write what came together, in one frame."""
        group = Feedback(0.0, [], [], [], [], [], [], [])
        columns: list[list[Any]] = [
            group.ids,
            group.numbers,
            group.truths,
            group.times,
            group.scores,
            group.sources,
        ]  # in the order of a line
        for entry in entries:
            lines = [line for line in entry.lines if line.id not in missing] if missing else entry.lines
            for column, values in zip(columns, zip(*lines, strict=True), strict=False):
                column.extend(values)
            group.keys.extend([entry.key] * len(lines))
        rows = len(group.ids)
        group.time = max(time.time(), self._last + 1e-6)
        self._last = group.time + rows * 1e-6
        try:
            if rows:
                self.recorder.write([group])
        except RecordError as error:
            log.error("feedback was not taken: %s", error)
            self.count("lost", rows)
            settle(entries, Unavailable("the record cannot be written", retry_after=1.0))
            return
        self.count("accepted", rows)
        for entry in entries:
            entry.done(missing.intersection(entry.old) if missing else missing)

    def not_found(self, id: str) -> NotFound:
        """Say that there is no such prediction, and how long there would have been one."""
        return NotFound(f"no prediction {id} in the record; {retention_words(self.folder)}")


def settle(entries: list[Entry], error: Problem) -> None:
    """Tell everybody who waits that it did not work."""
    for entry in entries:
        entry.done(error)
