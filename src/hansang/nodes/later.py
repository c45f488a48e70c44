"""What is told of rows that are answered later: to their store, and to the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import ModelFailed, Unavailable, problem
from hansang.jobs.ledger import Ledger
from hansang.jobs.store import JobRow, JobStore, State
from hansang.site import Site


@dataclass(slots=True, eq=False)
class Later:
    """Notes the states of rows, for `ttl` seconds each; `step` marks the live rows that have a job."""

    store: JobStore
    ttl: float
    site: Site
    step: Step
    clock: Callable[[], float] = time.time
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.store)

    def queued(self, batch: Batch, places: Sequence[int]) -> None:
        """Note the rows at these places, and let their quick answers say where the slow ones will be."""
        if places:
            calls = [batch.calls[place] for place in places]
            for call in calls:
                call.trail.append(self.step)
            self._note(calls, "queued")

    def begun(self, rows: Batch) -> None:
        """Note that the slow node has these rows."""
        self._note(rows.calls, "running")

    def settled(self, rows: Batch, answers: Batch, seconds: float) -> None:
        """Note and record what the slow node gave."""
        expires = self.clock() + self.ttl
        self.ledger.note(
            [self._row(call, answer, expires) for call, answer in zip(rows.calls, answers.rows, strict=True)]
        )
        if self.site.record is not None:
            self.site.record(rows, answers, seconds, "staged")

    def dropped(self, rows: Batch) -> None:
        """Note that nobody will work on these rows any more."""
        error = Unavailable("the service ended before the slow answer; send the row again")
        expires = self.clock() + self.ttl
        self.ledger.note([self._row(call, error, expires) for call in rows.calls])

    def _note(self, calls: Sequence[Call], state: State) -> None:
        expires = self.clock() + self.ttl
        self.ledger.note([JobRow(call.id, call.row, state, expires) for call in calls])

    def _row(self, call: Call, outcome: Any, expires: float) -> JobRow:
        """Make the row of an outcome: written as a live answer would be, its problem too."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            return JobRow(call.id, call.row, "done", expires, self.site.encode(outcome))
        except Exception as error:
            return JobRow(call.id, call.row, "failed", expires, self._problem(error, call.request_id or call.id))

    def _problem(self, error: Exception, request_id: str) -> bytes:
        """Write an error's problem document; one that cannot be written is a failure like any other."""
        try:
            return to_json(self.site.problem(error, request_id))
        except ValueError:
            return to_json(problem(ModelFailed(), request_id))
