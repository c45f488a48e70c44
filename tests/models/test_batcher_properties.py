"""Random interleavings of everything that can happen to a batcher."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import CallerLeft, DeadlineExceeded, ModelFailed, Overloaded
from hansang.models.batcher import Batcher, Limits
from hansang.testing import Clock, HeldLanes, turns

Sent = tuple[asyncio.Task[Batch], list[Any], list[Call]]


class Traffic(RuleBasedStateMachine):
    """Rows are pairs of a unique number and whether the model raises for them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock, self.lanes = Clock(), HeldLanes()
        self.sent: list[Sent] = []
        self.numbers = iter(range(10**6))
        self.reached: set[int] = set()
        self.dropped = 0
        self.admitted = 0

    @initialize(
        rows=st.integers(1, 6),
        queue=st.integers(0, 20),
        slots=st.integers(1, 3),
        buckets=st.booleans(),
        per_row=st.sampled_from([0.0, 0.01]),
        per_call=st.sampled_from([0.0, 0.05]),
    )
    def build(self, rows: int, queue: int, slots: int, buckets: bool, per_row: float, per_call: float) -> None:
        self.limits = Limits(rows=rows, queue=queue, slots=slots)
        self.buckets = buckets
        self.batcher = Batcher(
            self.predict,
            self.limits,
            step=Step("model", "m"),
            bucket=(lambda row: row[0] % 2) if buckets else None,
            dropped=self.drop,
            clock=self.clock,
            lanes=self.lanes,
        )
        for size in (1, 2, 4, 6, 1, 2, 4, 6):
            self.batcher.cost.observe(size, per_row * size + per_call)

    def predict(self, batch: Batch) -> Batch:
        assert 0 < batch.size <= self.limits.rows  # type: ignore[operator]  # build sets a number
        if self.buckets:
            assert len({row[0] % 2 for row in batch.rows}) == 1
        self.reached.update(row[0] for row in batch.rows)
        if any(fails for _, fails in batch.rows):
            raise ValueError("a bad row")
        return batch.replace([number * 10 for number, _ in batch.rows])

    def drop(self, why: str, rows: int) -> None:
        self.dropped += rows

    @rule(
        fails=st.lists(st.sampled_from([False, False, False, True]), min_size=1, max_size=9),
        patience=st.none() | st.floats(0.0, 1.0),
        background=st.booleans(),
    )
    def send(self, fails: list[bool], patience: float | None, background: bool) -> None:
        rows = [(next(self.numbers), bad) for bad in fails]
        deadline = None if patience is None else self.clock() + patience
        calls = [Call(row=n, deadline=deadline) for n in range(len(rows))]
        batch = Batch.of(rows, list(calls))
        batch.background = background
        self.admitted += len(rows)
        self.sent.append((self.loop.create_task(self.batcher(batch)), rows, calls))
        self.loop.run_until_complete(turns())

    @precondition(lambda self: self.lanes.calls)
    @rule(which=st.integers(0, 2), seconds=st.floats(0.0, 0.3), settle=st.booleans())
    def finish(self, which: int, seconds: float, settle: bool) -> None:
        self.clock.advance(seconds)

        async def end() -> None:
            self.lanes.finish(min(which, len(self.lanes.calls) - 1))
            if settle:
                await turns()

        self.loop.run_until_complete(end())

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        _, _, calls = data.draw(st.sampled_from(self.sent))
        data.draw(st.sampled_from(calls)).gone = True

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), settle=st.booleans())
    def cancel(self, data: st.DataObject, settle: bool) -> None:
        task, _, _ = data.draw(st.sampled_from(self.sent))
        task.cancel()
        if settle:
            self.loop.run_until_complete(turns())

    @invariant()
    def the_bounds_hold(self) -> None:
        if hasattr(self, "batcher"):
            assert len(self.lanes.calls) <= self.limits.slots
            assert 0 <= self.batcher.queued <= self.limits.queue
            assert self.batcher.queued == sum(waiting.left for waiting in self.batcher.live)

    def teardown(self) -> None:
        try:
            if hasattr(self, "batcher"):
                self.loop.run_until_complete(self.end())
        finally:
            self.loop.close()

    async def end(self) -> None:
        await turns()
        while self.lanes.calls:
            self.lanes.finish()
            await turns()
        for task, rows, calls in self.sent:
            assert task.done()
            if task.cancelled():
                continue
            answer = task.result()
            assert answer.calls == calls  # the same ones, in their order
            assert answer.failed == sum(isinstance(outcome, Exception) for outcome in answer.rows)
            for (number, fails), outcome in zip(rows, answer.rows, strict=True):
                if isinstance(outcome, Overloaded | CallerLeft | DeadlineExceeded):
                    assert number not in self.reached
                elif fails or isinstance(outcome, Exception):
                    assert isinstance(outcome, ModelFailed) and fails
                else:
                    assert outcome == number * 10
        assert self.batcher.queued == 0 and not self.batcher.running
        assert not self.batcher.live and not self.batcher.background
        assert len(self.reached) + self.dropped == self.admitted
        assert self.batcher.counts.rows == len(self.reached)


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestEveryInterleaving = Traffic.TestCase
