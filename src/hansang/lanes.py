"""Threads beside the event loop, for what would hold it up: one call at a time each."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Lanes(Protocol):
    """Runs model calls beside the event loop."""

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `work` and hand its result to `done` on the event loop. `work` never raises."""

    def close(self) -> None:
        """Take no more work; a call that hangs is left behind."""


class ThreadLanes:
    """One daemon thread a slot, so that a model that hangs cannot keep the process from ending.

    Each thread has a context of its own, empty: no call runs in the context of some other request.
    """

    def __init__(self, slots: int, name: str) -> None:
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(slots)]
        for thread in self.threads:
            thread.start()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `work` on the next free thread and hand its result to `done` on the event loop."""
        self.jobs.put((work, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """End the threads after the work they have."""
        for _ in self.threads:
            self.jobs.put(None)

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            work, done, loop = job
            result = work()
            try:
                loop.call_soon_threadsafe(done, result)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                return
            job = work = done = result = None


class Lane:
    """One daemon thread for calls that are awaited, started with the first of them.

    Who is cancelled while his call runs leaves it behind; the next call waits until it has ended. So a call that hangs
    costs one thread, however many come after it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lanes: ThreadLanes | None = None
        self._free = asyncio.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` on the thread and give what it gives; what it raises is raised here."""
        await self._free.acquire()
        if self._lanes is None:
            self._lanes = ThreadLanes(1, self.name)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(outcome: tuple[Any, BaseException | None]) -> None:
            self._free.release()
            if future.done():  # whoever waited was cancelled
                return
            result, error = outcome
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._lanes.submit(lambda: caught(work), done)
        return await future

    def close(self) -> None:
        """End the thread after the call it has."""
        if self._lanes is not None:
            self._lanes.close()
            self._lanes = None


def caught(work: Callable[[], Result]) -> tuple[Result | None, BaseException | None]:
    """Give what a call gives, or what it raises: nothing that it does may end its thread."""
    try:
        return work(), None
    except Exception as error:
        return None, error if not isinstance(error, StopIteration) else RuntimeError("StopIteration")
    except BaseException as error:  # a call of sys.exit() ends nothing here
        return None, RuntimeError(f"{type(error).__name__}: {error}")
