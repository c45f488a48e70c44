"""Work with a time limit, and who owns it when the time is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")

FOREVER = float("inf")
PATIENCE = 1.0

log = logging.getLogger("hansang")


@dataclass(slots=True)
class Owner:
    """Runs coroutines side by side, each for so long and no longer.

    One that takes longer is cancelled and nobody waits for it; but it is kept here until it has ended, for a coroutine
    may take its time to end, or not end at all.
    """

    late: set[asyncio.Task[Any]] = field(default_factory=set)

    async def run(
        self, work: Sequence[tuple[Coroutine[Any, Any, Result], float | None]]
    ) -> list[asyncio.Task[Result] | None]:
        """Run coroutines, each with its limit in seconds; gives the ended tasks, and `None` for those that are late."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        tasks: list[asyncio.Task[Result] | None] = []
        waiting: dict[asyncio.Task[Result], float] = {}
        for each, seconds in work:
            task = loop.create_task(each)
            tasks.append(task)
            waiting[task] = FOREVER if seconds is None else started + seconds
        try:
            while waiting:
                until = min(waiting.values())
                patience = None if until == FOREVER else max(until - loop.time(), 0.0)
                _, pending = await asyncio.wait(waiting, timeout=patience)
                waiting = {task: limit for task, limit in waiting.items() if task in pending}
                for task in [task for task, limit in waiting.items() if limit <= until]:
                    del waiting[task]
                    tasks[tasks.index(task)] = None
                    self.give_up(task)
        except BaseException:
            for task in waiting:
                self.give_up(task)
            raise
        return tasks

    def give_up(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task and keep it until it has ended."""
        task.cancel()
        self.late.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.late.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else asks for it any more

    async def ended(self) -> None:
        """Wait until what was given up has ended; for a second, for it may never do so."""
        if self.late:
            await asyncio.wait(self.late, timeout=PATIENCE)
        if self.late:
            log.warning("%d tasks that were cancelled for being late have not ended", len(self.late))
