"""Real objects for tests without waiting: a clock that a test moves, and lanes whose calls a test ends.

A batcher's model call that takes 50 ms, in a test that takes none:

    clock, lanes = Clock(), HeldLanes()
    batcher = Batcher(predict, step=Step("model", "digits"), clock=clock, lanes=lanes)
    answer = asyncio.create_task(batcher(Batch.of([1, 2])))
    await turns()               # the rows are at the model now
    clock.advance(0.05)
    lanes.finish()              # the model runs now, and has answered
    assert (await answer).rows == [2, 4]
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ParamSpec

Arguments = ParamSpec("Arguments")


@dataclass(slots=True)
class Clock:
    """A clock that stands until somebody moves it; in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(slots=True)
class HeldCall:
    """One model call that was handed to a lane and has not come back."""

    work: Callable[[], Any]
    done: Callable[[Any], None]


@dataclass(slots=True)
class HeldLanes:
    """Lanes on which a model call takes until a test ends it; the model runs then, on the event loop's thread."""

    calls: list[HeldCall] = field(default_factory=list)
    closed: bool = False

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Keep a call until `finish`."""
        self.calls.append(HeldCall(work, done))

    def finish(self, number: int = 0) -> None:
        """Run the model for the oldest call, or for another one, and hand over its answer."""
        call = self.calls.pop(number)
        call.done(call.work())

    def close(self) -> None:
        """Note that no more work will come."""
        self.closed = True


async def turns(number: int = 5) -> None:
    """Let the event loop come round, so that every task goes as far as it can."""
    for _ in range(number):
        await asyncio.sleep(0)


def on_loop(test: Callable[Arguments, Coroutine[Any, Any, None]]) -> Callable[Arguments, None]:
    """Run an async test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
