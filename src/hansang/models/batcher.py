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
from hansang.errors import CallerLeft, DeadlineExceeded, ModelFailed, Overloaded, Problem
from hansang.graph import pass_on
from hansang.models.cost import Cost
from hansang.models.lanes import Lanes, ThreadLanes

Predict = Callable[[Batch], Batch]

LIVE_ROWS = 64
BULK_ROWS = 8192
INLINE_SECONDS = 0.0005
EXPLORE_EVERY = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How a model's rows are batched.

    `rows` is the largest batch (default: 64 for live rows, 8192 for background ones); `queue` the most rows that
    wait; `slots` how many calls run at once; `inline` lets a cheap call run on the event loop instead of a thread;
    `isolate` looks for the bad row when a whole call raises.
    """

    rows: int | None = None
    queue: int = 4096
    slots: int = 1
    inline: bool = False
    isolate: bool = True


@dataclass(slots=True, eq=False)
class Waiting:
    """One batch that waits, whole or what is left of it, and the answers of its parts so far."""

    batch: Batch
    future: asyncio.Future[Batch]
    since: float
    start: int = 0
    running: int = 0
    answers: list[tuple[int, Batch]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The rows that have not been sent to the model."""
        return self.batch.size - self.start


@dataclass(slots=True)
class Part:
    """A run of one waiting batch's rows that goes into the next call."""

    waiting: Waiting
    start: int
    batch: Batch


@dataclass(slots=True)
class Counts:
    """What the batcher did, for the metrics; `seconds` is the models' own time."""

    calls: int = 0
    rows: int = 0
    seconds: float = 0.0
    refused: int = 0
    late: int = 0
    left: int = 0
    failed: int = 0


class Batcher:
    """Feeds one model: forms a batch when a slot is free, of all that waits; no window, no timer, no polling.

    A lone row never waits. A row whose caller left, or whose deadline cannot be met, is dropped before the model
    runs and never touches its batch mates. If a whole call raises, the bad rows are found by bisection. Batches of
    different `bucket` (shape, dtype, parameters) never merge. Background batches go when no live one waits.

    `predict` runs on a lane (a thread), or on the event loop when it is known to be cheap. `clock` and `lanes` are
    the seams for tests.
    """

    def __init__(
        self,
        predict: Predict,
        limits: Limits | None = None,
        *,
        step: Step,
        bucket: Callable[[Batch], Hashable] | None = None,
        observe: Callable[[int, float, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        lanes: Lanes | None = None,
    ) -> None:
        self.predict = predict
        self.limits = limits or Limits()
        self.step = step
        self.bucket = bucket
        self.observe = observe
        self.clock = clock
        self.lanes = lanes or ThreadLanes(self.limits.slots, step.model or step.node)
        self.cost = Cost()
        self.counts = Counts()
        self.live: deque[Waiting] = deque()
        self.background: deque[Waiting] = deque()
        self.running: dict[int, tuple[float, int]] = {}
        self.queued = 0
        self._numbers = itertools.count()

    # --- the way in ---

    async def __call__(self, batch: Batch) -> Batch:
        """Predict a batch; gives one outcome a row.

        Rows that do not fit into the queue fail with `Overloaded`, rows that cannot be in time with
        `DeadlineExceeded`. Never raises for a model's fault.
        """
        if self.limits.inline and not self.running and not self.live and self._cheap(batch):
            return self._inline(batch)
        if batch.has_calls and any(call.deadline is not None for call in batch.calls):
            doomed = self._doomed(batch.calls, self.backlog())
            rows = [doomed.get(position, row) for position, row in enumerate(batch.rows)]
            return await pass_on(self._enqueue, Batch(rows, batch.calls, len(doomed)))
        return await self._enqueue(batch)

    async def _enqueue(self, batch: Batch) -> Batch:
        room = self.limits.queue - self.queued
        if batch.size > room and not batch.background:
            return self._refuse(batch, max(room, 0))
        waiting = Waiting(batch, asyncio.get_running_loop().create_future(), self.clock())
        self.queued += batch.size
        (self.background if batch.background else self.live).append(waiting)
        self._pump()
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._abandon(waiting)
            raise

    def close(self) -> None:
        """Take no more work."""
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

    def _cheap(self, batch: Batch) -> bool:
        cost = self.cost
        return (
            cost.calls >= 3
            and cost.per_row * batch.size + cost.per_call < INLINE_SECONDS
            and batch.size <= (self.limits.rows or LIVE_ROWS)
            and not (batch.has_calls and any(call.deadline is not None or call.gone for call in batch.calls))
        )

    def _inline(self, batch: Batch) -> Batch:
        started = self.clock()
        answers = attempt(self.predict, batch, self.limits.isolate, self.step.model or self.step.node)
        self._learn(batch.size, self.clock() - started, 0.0, answers)
        batch.mark(Step(self.step.node, self.step.model, self.step.version, self.step.variant, batch.size))
        return answers

    def _refuse(self, batch: Batch, room: int) -> Batch:
        self.counts.refused += batch.size
        error = Overloaded(
            f"{self.step.model or self.step.node}: the queue has {room} free places for {batch.size} rows",
            retry_after=max(self.backlog(), 1.0),
        )
        return batch.fail(error)

    def _abandon(self, waiting: Waiting) -> None:
        """Forget a batch whose caller was cancelled; what runs of it runs on, for nobody."""
        queue = self.background if waiting.batch.background else self.live
        if waiting in queue:
            queue.remove(waiting)
            self.queued -= waiting.left
            self.counts.left += waiting.left

    # --- forming batches ---

    def _pump(self) -> None:
        """Start calls while there is a free slot and something waits."""
        while len(self.running) < self.limits.slots:
            queue = self.live or self.background
            if not queue:
                return
            parts = self._form(queue)
            if parts:
                self._start(parts)

    def _form(self, queue: deque[Waiting]) -> list[Part]:
        """Take all that waits, oldest first, up to the largest batch that pays, of one bucket."""
        room = self._size(queue[0].batch.background)
        bucket = self.bucket(queue[0].batch) if self.bucket else None
        parts: list[Part] = []
        others: list[Waiting] = []
        while queue and room > 0:
            waiting = queue.popleft()
            if parts and self.bucket and self.bucket(waiting.batch) != bucket:
                others.append(waiting)
                continue
            count = min(room, waiting.left)
            part = self._part(waiting, count)
            if waiting.left:
                queue.appendleft(waiting)
            if part is not None:
                parts.append(part)
                room -= part.batch.size
        queue.extendleft(reversed(others))
        return parts

    def _size(self, background: bool) -> int:
        if background:
            return self.limits.rows or BULK_ROWS
        most = self.limits.rows or LIVE_ROWS
        if self.cost.calls % EXPLORE_EVERY == 0:
            return most  # now and then a full batch, so that the slope can be learned again
        return self.cost.worthwhile(most)

    def _part(self, waiting: Waiting, count: int) -> Part | None:
        """Cut the next rows off a waiting batch, dropping those that nobody needs any more."""
        start = waiting.start
        whole = start == 0 and count == waiting.batch.size
        batch = waiting.batch if whole else waiting.batch.slice(start, start + count)
        waiting.start += count
        self.queued -= count
        waiting.running += 1
        if not batch.has_calls:
            return Part(waiting, start, batch)
        doomed = self._doomed(batch.calls)
        if not doomed:
            return Part(waiting, start, batch)
        return self._without(waiting, start, batch, doomed)

    def _doomed(self, calls: list[Call], ahead: float = 0.0) -> dict[int, Problem]:
        """Find the rows that must not reach the model, and why; `ahead` is the work before them, in seconds."""
        doomed: dict[int, Problem] = {}
        horizon = None
        for position, call in enumerate(calls):
            if call.gone:
                doomed[position] = CallerLeft("the caller left before the model ran")
                self.counts.left += 1
            elif call.deadline is not None:
                if horizon is None:
                    horizon = self.clock() + ahead + self.cost.predict(1)
                if call.deadline < horizon:
                    doomed[position] = DeadlineExceeded("the deadline cannot be met")
                    self.counts.late += 1
        return doomed

    def _without(self, waiting: Waiting, start: int, batch: Batch, doomed: dict[int, Problem]) -> Part | None:
        """Settle the doomed rows and give a part of the others, in runs that keep their places."""
        runs: list[tuple[int, Batch]] = []
        for dead, positions in itertools.groupby(range(batch.size), key=doomed.__contains__):
            run = list(positions)
            piece = batch.slice(run[0], run[-1] + 1)
            if dead:
                answer = Batch([doomed[i] for i in run], piece.calls, len(run))
                waiting.answers.append((start + run[0], answer))
            else:
                runs.append((start + run[0], piece))
        if not runs:
            waiting.running -= 1
            self._settle(waiting)
            return None
        waiting.running += len(runs) - 1
        for offset, piece in runs[1:]:
            # the later runs of a torn batch wait for the next call, at the head of the queue
            rest = Waiting(piece, waiting.future, waiting.since)
            self._later(waiting, rest, offset)
        return Part(waiting, runs[0][0], runs[0][1])

    def _later(self, waiting: Waiting, rest: Waiting, offset: int) -> None:
        loop = waiting.future.get_loop()
        rest.future = loop.create_future()

        def join(done: asyncio.Future[Batch]) -> None:
            waiting.running -= 1
            if not done.cancelled():
                waiting.answers.append((offset, done.result()))
            self._settle(waiting)

        rest.future.add_done_callback(join)
        self.queued += rest.batch.size
        (self.background if rest.batch.background else self.live).appendleft(rest)

    # --- one call ---

    def _start(self, parts: list[Part]) -> None:
        joined = parts[0].batch if len(parts) == 1 else Batch.concat([part.batch for part in parts])
        number, started = next(self._numbers), self.clock()
        self.running[number] = (started, joined.size)
        name, isolate, predict = self.step.model or self.step.node, self.limits.isolate, self.predict

        def work() -> Batch:
            return attempt(predict, joined, isolate, name)

        self.lanes.submit(work, lambda answers: self._finish(number, parts, joined.size, answers))

    def _finish(self, number: int, parts: list[Part], rows: int, answers: Batch) -> None:
        started, _ = self.running.pop(number)
        oldest = started - min(part.waiting.since for part in parts)
        self._learn(rows, self.clock() - started, oldest, answers)
        step, offset = self.step, 0
        for part in parts:
            size = part.batch.size
            whole = size == rows
            answer = answers if whole else answers.slice(offset, offset + size)
            offset += size
            waited = started - part.waiting.since
            part.batch.mark(Step(step.node, step.model, step.version, step.variant, rows, waited))
            part.waiting.running -= 1
            part.waiting.answers.append((part.start, answer))
            self._settle(part.waiting)
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

    def _settle(self, waiting: Waiting) -> None:
        """Answer a batch when all its parts are back."""
        if waiting.left or waiting.running or waiting.future.done():
            return
        if len(waiting.answers) == 1:
            answer = waiting.answers[0][1]
        else:
            waiting.answers.sort(key=lambda item: item[0])
            answer = Batch.concat([part for _, part in waiting.answers])
        waiting.future.set_result(answer)


def attempt(predict: Predict, batch: Batch, isolate: bool, name: str) -> Batch:
    """Call a model so that every row has an outcome, whatever the model does.

    When the call raises and `isolate` is set, the rows are halved until the bad ones stand alone, with at most
    max(16, rows) further calls; rows left when these are used up share the error.
    """
    try:
        answers = predict(batch)
    except Exception as error:
        if not isolate or batch.size == 1 or isinstance(error, WrongCount):
            return batch.fail(failure(error, name))
        return bisect(predict, batch, failure(error, name), name)
    except BaseException as error:  # a model that calls sys.exit() must not take its thread along
        return batch.fail(failure(error, name))
    if answers.size != batch.size:
        return batch.fail(failure(WrongCount(answers.size, batch.size), name))
    return answers


def bisect(predict: Predict, batch: Batch, error: Problem, name: str) -> Batch:
    """Find the rows that make a call raise; see `attempt`."""
    budget = max(16, batch.size)
    settled: list[tuple[int, Batch]] = []
    todo: deque[tuple[int, Batch, Problem]] = deque([(0, batch, error)])
    while todo:
        start, part, why = todo.popleft()
        if part.size == 1 or budget < 2:
            settled.append((start, part.fail(why)))
            continue
        middle = part.size // 2
        for begin, end in ((0, middle), (middle, part.size)):
            half = part.slice(begin, end)
            budget -= 1
            try:
                settled.append((start + begin, checked(predict(half), half)))
            except Exception as cause:
                todo.append((start + begin, half, failure(cause, name)))
    settled.sort(key=lambda item: item[0])
    return Batch.concat([part for _, part in settled])


class WrongCount(Exception):
    """The model gave more or fewer predictions than it got rows."""

    def __init__(self, got: int, rows: int) -> None:
        super().__init__(f"got {got} predictions for {rows} rows; return one per row")


def checked(answers: Batch, batch: Batch) -> Batch:
    """Refuse answers whose number is not the number of rows."""
    if answers.size != batch.size:
        raise WrongCount(answers.size, batch.size)
    return answers


def failure(error: BaseException, name: str) -> Problem:
    """Turn what a model raised into a row's outcome: the user's own `Problem` as it is, anything else `ModelFailed`."""
    if isinstance(error, Problem):
        return error
    problem: Any = ModelFailed(f"{name}: {type(error).__name__}: {error}")
    problem.__cause__ = error
    return problem  # type: ignore[no-any-return]  # a Problem; Any only to set its cause
