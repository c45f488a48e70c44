"""The controller of a rollout beside a server: a process of its own, as long as a model of the server is rolled out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hansang.models.managed import Follower

log = logging.getLogger("hansang")


class Watching:
    """Sees to it, while it is entered, that somebody watches each rollout that this process has.

    Every worker of every server that writes to one record starts a process; all but one of these find the place taken
    and end at once. So a controller that died is replaced at the next look, by whoever looks first.
    """

    def __init__(self, followers: Mapping[str, Follower], record: Path | None, seconds: float) -> None:
        self.followers = followers
        self.record = record
        self.seconds = seconds
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watching:
        if self.record is not None and any(follower.stages for follower in self.followers.values()):
            self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for process in self.processes.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self.processes.values():
            await asyncio.to_thread(ended, process)
        self.processes.clear()

    def look(self) -> None:
        """Look now: something has changed."""
        self._news.set()

    async def _look(self) -> None:
        while True:
            self._news.clear()
            for name, follower in self.followers.items():
                process = self.processes.get(name)
                if follower.beside.rolls and (process is None or process.poll() is not None):
                    try:
                        self.processes[name] = await asyncio.to_thread(self._start, name, follower.registry.uri)
                    except OSError as error:
                        log.error("%s: the rollout is not watched: %s", name, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await self._news.wait()

    def _start(self, name: str, registry: str) -> subprocess.Popen[bytes]:
        """Start a controller, in a process group of its own: Ctrl-C does not reach it."""
        command = [sys.executable, "-P", "-m", "hansang.rollout.watch", str(self.record), name, str(self.seconds)]
        env = {**os.environ, "HANSANG_REGISTRY": registry}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=env, process_group=0)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until a controller has ended; one that is in the middle of a look goes on by itself."""
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.returncode = 0
