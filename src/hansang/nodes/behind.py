"""Work behind the live answers: on copies of the rows, bounded, in the gaps, and given up when it takes too long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hansang.batch import Batch
from hansang.call import Step
from hansang.dispatch import flow
from hansang.errors import DeadlineExceeded, UsageError
from hansang.graph import Node
from hansang.isolate import failure
from hansang.metrics import Counter
from hansang.models.cost import Cost

RUN_ROWS = 128
RUN_SECONDS = 0.1
FINISH = 2.0

OK, ERROR, DROPPED, LATE = "ok", "error", "dropped", "late"

log = logging.getLogger("hansang")


def nothing(rows: Batch) -> None:
    """Take no notice."""


async def at_once() -> None:
    """Wait for nothing."""


@dataclass(slots=True, eq=False)
class Behind:
    """A queue of at most `max_rows` rows and the task that works it off with a node, while it is entered.

    One run at a time: of as many rows as pay, and few where each takes long. A run that takes longer than `timeout`
    seconds is given up, its rows are late, and nothing else starts before it has ended; so a node that hangs holds one
    run and a full queue, and no more. Left, it takes no more rows and has `FINISH` seconds for those it has, none
    when it hangs.

    `settled` hears of rows with their outcomes and the seconds they took, `begun` of rows that go to the node,
    `dropped` of those that were taken and have no outcome when it ends; `saved` is awaited between runs. `counts` are
    counters of rows by what became of them. Whatever goes wrong, nothing is raised to whoever offers rows.
    """

    node: Node
    name: str
    max_rows: int
    timeout: float
    settled: Callable[[Batch, Batch, float], None]
    begun: Callable[[Batch], None] = nothing
    dropped: Callable[[Batch], None] = nothing
    saved: Callable[[], Awaitable[None]] = at_once
    counts: Mapping[str, Counter] = field(default_factory=dict)
    rows: int = 0
    queue: deque[Batch] = field(default_factory=deque)
    cost: Cost = field(default_factory=Cost)
    task: asyncio.Task[None] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _hanging: int = 0
    _said: float = float("-inf")
    _step: Step = field(init=False)

    def __post_init__(self) -> None:
        self._step = Step(self.name)  # one for all rows: the record groups by it

    def offer(self, batch: Batch, choose: Callable[[Batch], Sequence[int]]) -> Sequence[int]:
        """Take copies of the rows that are chosen, as many as there is room for; gives the places of those taken.

        Takes nothing before it is entered, nor after it was left.
        """
        if self.task is None:
            return ()
        try:
            chosen = choose(batch)
            taken = chosen[: max(self.max_rows - self.rows, 0)]
            if taken:
                part = batch.apart(taken)
                part.mark(self._step)
        except Exception as error:  # a row that cannot be copied, say
            self._say("cannot take rows", error)
            self._count(DROPPED, batch.size)
            return ()
        self._count(DROPPED, len(chosen) - len(taken))
        if taken:
            self.queue.append(part)
            self.rows += part.size
            self._idle.clear()
            self._wake.set()
        return taken

    # --- the task ---

    async def __aenter__(self) -> Behind:
        self._idle.set()
        self.task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self.task = self.task, None
        if task is None:
            return
        try:
            await asyncio.wait_for(self._idle.wait(), 0.0 if self._hanging else FINISH)
        except TimeoutError:
            log.warning("%s: %d rows had no outcome at the end", self.name, self.rows)
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        self._drop_queue()

    async def _work(self) -> None:
        while True:
            while not self.queue:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._run(self._next())
            except Exception as error:
                self._say("this is a bug of hansang", error)
                self._drop_queue()  # so that whatever is wrong does not go round for ever
            finally:
                self.rows = sum([part.size for part in self.queue])
                if not self.rows:
                    self._idle.set()

    def _next(self) -> Batch:
        """Take the rows of the next run, oldest first."""
        room = self._size()
        parts: list[Batch] = []
        while self.queue and room:
            part = self.queue.popleft()
            if part.size > room:
                self.queue.appendleft(part.slice(room, part.size))
                part = part.slice(0, room)
            parts.append(part)
            room -= part.size
        return Batch.concat(parts)  # all have calls, so any rows can be joined

    def _size(self) -> int:
        """Give the most rows of the next run: all that pay, few where each takes long; at first one, two, four."""
        cost = self.cost
        if self._hanging:
            return min(RUN_ROWS, self._hanging)
        most = min(RUN_ROWS, 1 << min(cost.calls, 7))
        if cost.per_row < 1e-9:
            return most
        pays = max(cost.worthwhile(RUN_ROWS), int((RUN_SECONDS - cost.per_call) / cost.per_row))
        in_time = int((self.timeout / 2.0 - cost.per_call) / cost.per_row)
        return max(1, min(most, pays, in_time))

    def _learn(self, rows: int, late: int, seconds: float) -> None:
        """Learn what a run costs; when not even one row has an answer in time, more are given up with each run."""
        if late == rows and (rows == 1 or self._hanging):
            self._hanging = 2 * rows
        else:
            self._hanging = 0
            self.cost.observe(rows, seconds)

    async def _run(self, batch: Batch) -> None:
        """Send rows through the node until all have an outcome, or the time is over."""
        started = time.monotonic()
        open_rows = set(range(batch.size))

        def send(at: Sequence[int], answers: Batch) -> None:
            if open_rows:  # else it was given up
                open_rows.difference_update(at)
                self._settle(batch.take(at), answers, time.monotonic() - started)

        task = None
        try:
            self.begun(batch)
            task = asyncio.create_task(attempt(self.node, batch, open_rows, send, self.name))
            await asyncio.wait({task}, timeout=self.timeout)
            seconds = time.monotonic() - started
            late = batch.take(sorted(open_rows))
            self._learn(batch.size, late.size, seconds)
            open_rows.clear()
            if late.size:
                error = DeadlineExceeded(f"{self.name} had no answer within {self.timeout:g} s")
                self._settle(late, late.fail(error), seconds, LATE)
            task.cancel()
            await asyncio.wait({task})
            await self.saved()
        except BaseException:
            rest = batch.take(sorted(open_rows))
            open_rows.clear()
            self._drop(rest)
            raise
        finally:
            if task is not None:
                task.cancel()

    # --- what becomes of rows ---

    def _settle(self, rows: Batch, answers: Batch, seconds: float, failed: str = ERROR) -> None:
        self._count(OK, answers.size - answers.failed)
        self._count(failed, answers.failed)
        if answers.failed:
            error = next(row for row in answers.rows if isinstance(row, Exception))
            self._say("behind the live answers", error)
        self.settled(rows, answers, seconds)

    def _drop_queue(self) -> None:
        while self.queue:
            self._drop(self.queue.popleft())

    def _drop(self, rows: Batch) -> None:
        self._count(DROPPED, rows.size)
        if rows.size:
            self.dropped(rows)

    def _count(self, what: str, rows: int) -> None:
        if rows and what in self.counts:
            self.counts[what].add(rows)

    def _say(self, what: str, error: BaseException) -> None:
        """Log an error, once a second at most: all of them are counted."""
        now = time.monotonic()
        if now - self._said >= 1.0:
            self._said = now
            log.error("%s: %s: %s", self.name, what, error, exc_info=error.__cause__)


async def attempt(
    node: Node, batch: Batch, open_rows: set[int], send: Callable[[Sequence[int], Batch], None], name: str
) -> None:
    """Run a node; whatever it raises is the outcome of the rows that have none, and ends nothing else."""
    try:
        await flow(node, batch, range(batch.size), send)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        rest = sorted(open_rows)
        send(rest, batch.take(rest).fail(failure(error, name)))


def check_limits(name: str, max_rows: int, timeout: float) -> None:
    """Raise a `UsageError` for limits that cannot be ones."""
    if max_rows < 1:
        raise UsageError(f"{name}: max_rows is {max_rows}; give at least 1")
    if not timeout > 0.0:
        raise UsageError(f"{name}: timeout is {timeout}; give seconds above 0")
