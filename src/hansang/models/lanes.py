"""The threads on which models run, one call at a time each."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol


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
