"""The only queue: rows wait here until a slot of their model is free, and then go together."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import CallerLeft, DeadlineExceeded, Overloaded, Problem, Unavailable
from hansang.graph import pass_on
from hansang.isolate import Predict, attempt, failure
from hansang.lanes import Lanes, ThreadLanes
from hansang.models.cost import Cost
from hansang.models.waiting import Part, Waiting

LIVE_ROWS = 64
BULK_SECONDS = 0.1
INLINE_SECONDS = 0.0005
EXPLORE_EVERY = 64
GATHER_FROM = 0.001  # seconds a call costs whatever its rows, from which more rows in a call are worth a look for them
GATHER_SHARE = 0.1  # of that time, for callers who keep coming back
ROUND = 3  # turns of the loop: the answers leave; what came meanwhile is read; its rows are here

OVERLOADED, DEADLINE, CALLER_LEFT = "overloaded", "deadline", "caller_left"


@dataclass(frozen=True, slots=True)
class Limits:
    """How a model's rows are batched.

    `rows` is the largest batch (default: 64 for live rows, `bulk` for background ones); `queue` the most rows that
    wait; `slots` how many calls run at once; `inline` lets a cheap call run on the event loop instead of a thread;
    `isolate` looks for the bad row when a whole call raises.
    """

    rows: int | None = None
    queue: int = 4096
    slots: int = 1
    inline: bool = False
    isolate: bool = True
    bulk: int = 8192


@dataclass(slots=True)
class Counts:
    """What the batcher did; `seconds` is the model's own time, `dropped` the rows it never saw, by reason."""

    calls: int = 0
    rows: int = 0
    seconds: float = 0.0
    failed: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {OVERLOADED: 0, DEADLINE: 0, CALLER_LEFT: 0})


class Batcher:
    """Feeds one model: forms a batch when a slot is free, of all that waits; no window, no timer, no polling.

    A lone row never waits. A row whose caller left, or whose deadline cannot be met, is dropped before the model
    runs and never touches its batch mates. If a whole call raises, the bad rows are found by bisection. Rows of
    different `bucket` (shape, dtype, parameters) never share a call. Background batches go when no live one waits.

    `predict` runs on a lane (a thread), or on the event loop when it is known to be cheap. `observe` hears of every
    call (rows, seconds, longest wait), `dropped` of rows that never reached the model (why, rows). `clock` and
    `lanes` are the seams for tests.
    """

    def __init__(
        self,
        predict: Predict,
        limits: Limits | None = None,
        *,
        step: Step,
        bucket: Callable[[Any], Hashable] | None = None,
        observe: Callable[[int, float, float], None] | None = None,
        dropped: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        lanes: Lanes | None = None,
    ) -> None:
        self.predict = predict
        self.limits = limits or Limits()
        self.step = step
        self.name = step.model or step.node
        self.bucket = bucket
        self.observe = observe
        self.dropped = dropped
        self.clock = clock
        self.lanes = lanes or ThreadLanes(self.limits.slots, self.name)
        self.cost = Cost()
        self.counts = Counts()
        self.live: deque[Waiting] = deque()
        self.background: deque[Waiting] = deque()
        self.running: dict[int, tuple[float, int]] = {}
        self.queued = 0
        self.closed = False
        self.gathering = False
        self._numbers = itertools.count()

    # --- the way in ---

    async def __call__(self, batch: Batch) -> Batch:
        """Predict a batch; gives one outcome a row.

        Rows that do not fit into the queue fail with `Overloaded`, rows that cannot be in time with
        `DeadlineExceeded`. Never raises for a model's fault.
        """
        calls = batch.calls if batch.has_calls else []
        hurried = [call.deadline for call in calls].count(None) != len(calls) or True in [call.gone for call in calls]
        if not hurried and self.prompt(batch):
            return self._inline(batch)
        if hurried:
            doomed = self._doomed(batch.calls, self.backlog())
            rows = [doomed.get(position, row) for position, row in enumerate(batch.rows)]
            return await pass_on(self._admit, batch.adopt(Batch(rows, None, len(doomed))))
        return await self._admit(batch)

    async def _admit(self, batch: Batch) -> Batch:
        """Take the rows that fit into the queue; background rows wait with whoever sent them, so they always fit."""
        if self.bucket is not None and batch.size:
            return await self._sort(batch, self.bucket)
        return await self._enqueue(batch, None)

    async def _sort(self, batch: Batch, bucket: Callable[[Any], Hashable]) -> Batch:
        """Let the rows of each bucket wait as a batch of their own."""
        places: dict[Hashable, list[int]] = {}
        try:
            for position, row in enumerate(batch.rows):
                places.setdefault(bucket(row), []).append(position)
        except Exception as error:
            return batch.fail(failure(error, self.name))
        if len(places) == 1:
            return await self._enqueue(batch, next(iter(places)))
        answers = await asyncio.gather(*(self._enqueue(batch.take(some), key) for key, some in places.items()))
        for some, answer in zip(places.values(), answers, strict=True):
            batch = batch.fill(some, answer)
        return batch

    async def _enqueue(self, batch: Batch, bucket: Hashable) -> Batch:
        if not batch.size:
            return batch
        if self.closed:
            return batch.fail(Unavailable(f"{self.name} is being unloaded", retry_after=1.0))
        if batch.background:
            return await self._wait(self.background, batch, bucket)
        room = self._room()
        if batch.size <= room:
            return await self._wait(self.live, batch, bucket)
        refused = self._refuse(batch.slice(room, batch.size), room)
        if not room:
            return refused
        return Batch.concat([await self._wait(self.live, batch.slice(0, room), bucket), refused])

    async def _wait(self, queue: deque[Waiting], batch: Batch, bucket: Hashable) -> Batch:
        waiting = Waiting(batch, bucket, asyncio.get_running_loop().create_future(), self.clock())
        queue.append(waiting)
        if not batch.background:
            self.queued += batch.size
        self._pump()
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if waiting in queue:
                queue.remove(waiting)
                self._forget(waiting)
            raise

    def close(self) -> None:
        """Take no more work: what waits is answered `Unavailable`, what runs ends as it would."""
        self.closed = True
        for waiting in (*self.live, *self.background):
            if not waiting.future.done():
                rest = waiting.batch.slice(waiting.start, waiting.batch.size)
                waiting.answers.append((waiting.start, rest.fail(Unavailable(f"{self.name} is being unloaded"))))
                waiting.start = waiting.batch.size
                waiting.settle()
        self.live.clear()
        self.background.clear()
        self.queued = 0
        self.lanes.close()

    def backlog(self) -> float:
        """Forecast the seconds until a row that comes now would reach the model."""
        if not self.running and not self.queued:
            return 0.0
        now = self.clock()
        started = sum(max(self.cost.predict(rows) - (now - since), 0.0) for since, rows in self.running.values())
        size = self.cost.worthwhile(self.limits.rows or LIVE_ROWS)
        calls, rest = divmod(sum(waiting.left for waiting in self.live), size)
        waiting_time = calls * self.cost.predict(size) + (self.cost.predict(rest) if rest else 0.0)
        return (started + waiting_time) / self.limits.slots

    def stuck(self, seconds: float) -> bool:
        """Say whether a call has been running for longer than this."""
        now = self.clock()
        return any(now - since > seconds for since, _ in self.running.values())

    # --- on the loop, at once ---

    def prompt(self, batch: Batch) -> bool:
        """Say whether a batch would be predicted on the event loop, at once, if none of its callers is in a hurry."""
        cost = self.cost
        return (
            self.limits.inline
            and not (self.running or self.live or batch.background or self.closed)
            and cost.calls >= 3
            and cost.per_row * batch.size + cost.per_call < INLINE_SECONDS
            and 0 < batch.size <= (self.limits.rows or LIVE_ROWS)
            and self.bucket is None
        )

    def _inline(self, batch: Batch) -> Batch:
        started = self.clock()
        answers = batch.adopt(attempt(self.predict, batch, self.limits.isolate, self.name))
        self._learn(batch.size, self.clock() - started, 0.0, answers)
        batch.mark(Step(self.step.node, self.step.model, self.step.version, self.step.variant, batch.size))
        return answers

    def _room(self) -> int:
        """Count the rows that can be taken: the free places of the queue, and what goes to free slots at once."""
        free = self.limits.slots - len(self.running) if not self.live else 0
        return max(self.limits.queue - self.queued, 0) + free * self._size(False)

    def _refuse(self, batch: Batch, room: int) -> Batch:
        self._drop(OVERLOADED, batch.size)
        return batch.fail(
            Overloaded(
                f"{self.name}: the queue has {room} free places for {batch.size + room} rows",
                retry_after=max(self.backlog(), 1.0),
            )
        )

    def _forget(self, waiting: Waiting) -> None:
        """Count what is left of a batch whose caller was cancelled; what runs of it runs on, for nobody."""
        if not waiting.batch.background:
            self.queued -= waiting.left
        self._drop(CALLER_LEFT, waiting.left)

    def _drop(self, why: str, rows: int) -> None:
        if rows:
            self.counts.dropped[why] += rows
            if self.dropped is not None:
                self.dropped(why, rows)

    # --- forming batches ---

    def _pump(self) -> None:
        """Start calls while there is a free slot and something waits."""
        while len(self.running) < self.limits.slots and not self.gathering:
            queue = self.live or self.background
            if not queue:
                return
            parts = self._form(queue)
            if parts:
                self._start(parts)

    def _form(self, queue: deque[Waiting]) -> list[Part]:
        """Take all that waits, oldest first, up to the largest batch that pays, of the oldest's bucket."""
        room = self._size(queue[0].batch.background)
        bucket = queue[0].bucket
        parts: list[Part] = []
        others: list[Waiting] = []
        while queue and room > 0:
            waiting = queue.popleft()
            if waiting.future.done():  # cancelled, and its task has not run since
                self._forget(waiting)
            elif waiting.bucket != bucket:
                others.append(waiting)
            else:
                part = self._part(waiting, min(room, waiting.left))
                if waiting.left:
                    queue.appendleft(waiting)
                if part is not None:
                    parts.append(part)
                    room -= part.batch.size
        queue.extendleft(reversed(others))
        return parts

    def _size(self, background: bool) -> int:
        """Give the most rows of the next call."""
        if background:
            most = self.limits.rows or self.limits.bulk
            if self.cost.per_row <= 0.0:
                return most
            timely = (BULK_SECONDS - self.cost.per_call) / self.cost.per_row  # a live row may come meanwhile
            return min(most, max(int(timely), self.cost.worthwhile(most)))
        most = self.limits.rows or LIVE_ROWS
        if self.cost.calls % EXPLORE_EVERY == 0:
            return most  # now and then a full batch, so that the slope can be learned again
        return self.cost.worthwhile(most)

    def _part(self, waiting: Waiting, count: int) -> Part | None:
        """Cut the next rows off a waiting batch, dropping those that nobody needs any more."""
        start = waiting.start
        whole = count == waiting.batch.size
        batch = waiting.batch if whole else waiting.batch.slice(start, start + count)
        waiting.start += count
        if not batch.background:
            self.queued -= count
        doomed = self._doomed(batch.calls) if batch.has_calls else None
        if not doomed:
            waiting.running += 1
            return Part(waiting, start, batch)
        rows = [doomed.get(position, row) for position, row in enumerate(batch.rows)]
        torn = batch.adopt(Batch(rows, None, len(doomed)))
        if torn.failed == torn.size:
            waiting.answers.append((start, torn))
            waiting.settle()
            return None
        waiting.running += 1
        return Part(waiting, start, torn.take(torn.good), torn)

    def _doomed(self, calls: list[Call], ahead: float = 0.0) -> dict[int, Problem]:
        """Find the rows that must not reach the model, and why; `ahead` is the work before them, in seconds."""
        doomed: dict[int, Problem] = {}
        horizon = None
        left = 0
        for position, call in enumerate(calls):
            if call.gone:
                doomed[position] = CallerLeft("the caller left before the model ran")
                left += 1
            elif call.deadline is not None:
                if horizon is None:
                    horizon = self.clock() + ahead + self.cost.predict(1)
                if call.deadline < horizon:
                    doomed[position] = DeadlineExceeded("the deadline cannot be met")
        self._drop(CALLER_LEFT, left)
        self._drop(DEADLINE, len(doomed) - left)
        return doomed

    # --- one call ---

    def _start(self, parts: list[Part]) -> None:
        number, started = next(self._numbers), self.clock()
        rows = sum(part.batch.size for part in parts)
        self.running[number] = (started, rows)
        clock, name, isolate, predict = self.clock, self.name, self.limits.isolate, self.predict

        def work() -> tuple[Batch, float]:
            begun = clock()  # the model's own time: not the way to the lane, nor a loop that is busy when it is back
            try:
                joined = Batch.concat([part.batch for part in parts])
            except Exception as error:  # rows of different schemas in one bucket
                return Batch([failure(error, name)] * rows, None, rows), 0.0
            answers = attempt(predict, joined, isolate, name)
            return answers, clock() - begun

        self.lanes.submit(work, lambda done: self._finish(number, parts, rows, *done))

    def _finish(self, number: int, parts: list[Part], rows: int, answers: Batch, seconds: float) -> None:
        started, _ = self.running.pop(number)
        oldest = started - min(part.waiting.since for part in parts)
        self._learn(rows, seconds, oldest, answers)
        step, offset = self.step, 0
        for part in parts:
            size = part.batch.size
            if part.start == 0 or part.batch.has_calls:  # rows without calls share one trail, written once
                waited = started - part.waiting.since
                part.batch.mark(Step(step.node, step.model, step.version, step.variant, rows, waited))
            part.settle(answers if size == rows else answers.slice(offset, offset + size))
            offset += size
        if self.cost.per_call < GATHER_FROM:
            self._pump()
        elif not self.gathering:
            self.gathering = True
            until = self.clock() + self.cost.per_call * GATHER_SHARE
            self._gather(parts[0].waiting.future.get_loop(), ROUND, self.queued, until)

    def _gather(self, loop: asyncio.AbstractEventLoop, turns: int, queued: int, until: float) -> None:
        """Start the next calls when the loop has come round, again while more rows come in each round.

        The answers leave first, and callers who come back at once go with those who wait. Without this the callers of
        a model that costs the same for one row as for many would stand in two groups, each waiting for the other's
        call. It is no window: nothing waits for a time to pass, and a row that finds the model idle goes at once.
        """
        if turns:
            loop.call_soon(self._gather, loop, turns - 1, queued, until)
        elif self.queued > queued and self.clock() < until:
            loop.call_soon(self._gather, loop, ROUND, self.queued, until)
        else:
            self.gathering = False
            self._pump()

    def _learn(self, rows: int, seconds: float, queue: float, answers: Batch) -> None:
        counts = self.counts
        counts.calls += 1
        counts.rows += rows
        counts.seconds += seconds
        counts.failed += answers.failed
        if not answers.failed:
            self.cost.observe(rows, seconds)
        if self.observe is not None:
            self.observe(rows, seconds, queue)
