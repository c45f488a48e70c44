"""Starts the processes of a plan, starts a dead one again, and ends all in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hansang.errors import HansangError, UsageError
from hansang.peers.http import Address, NoAnswer, Pool
from hansang.server.parent import PARENT
from hansang.up.plan import Plan, Process

Say = Callable[[str], None]

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STEADY = 60.0
POLL = 0.1
GRACE = 10.0
CHUNK = 65536


@dataclass(slots=True, eq=False)
class Kept:
    """One process that is kept running. `failed` is the status of a process that ended before it was ever ready."""

    process: Process
    say: Say
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    failed: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    running: asyncio.subprocess.Process | None = None
    stopping: bool = False
    status: int = 0

    async def keep(self) -> None:
        """Start it, and again when it ends, after ever longer pauses."""
        loop, delay = asyncio.get_running_loop(), FIRST_DELAY
        while not self.stopping:
            born = loop.time()
            status = await self._run()
            if self.stopping:
                return
            if not self.ready.is_set():
                self.failed.set_result(status)
                return
            delay = FIRST_DELAY if loop.time() - born > STEADY else min(delay * 2.0, LONGEST_DELAY)
            self.say(f"ended with status {status}; it starts again in {delay:.1f} s")
            await asyncio.sleep(delay)

    async def _run(self) -> int:
        environment = {name: value for name, value in os.environ.items() if name != "HANSANG_NODE"}
        self.running = await asyncio.create_subprocess_exec(
            *self.process.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # ctrl-c is for the parent, which ends the front first
            env=environment | {PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        )
        asking = asyncio.create_task(self._ask())
        try:
            await self._hear(self.running)
            return await self.running.wait()
        finally:
            asking.cancel()

    async def _hear(self, running: asyncio.subprocess.Process) -> None:
        """Pass its lines on, each with its name before it."""
        assert running.stdout is not None
        rest = b""
        while data := await running.stdout.read(CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.say(line.decode(errors="replace"))
        if rest:
            self.say(rest.decode(errors="replace"))

    async def _ask(self) -> None:
        """Ask until it is ready."""
        async with Pool(Address.of(f"{self.process.url}/readyz"), 1) as pool:
            while True:
                with contextlib.suppress(NoAnswer, TimeoutError):
                    async with asyncio.timeout(GRACE):
                        if (await pool.ask("GET", "/readyz", {}, b"")).status == 200:
                            self.ready.set()
                            return
                await asyncio.sleep(POLL)

    async def end(self, patience: float) -> None:
        """Let it drain, then kill it; the status says whether it ended by itself."""
        self.stopping = True
        running = self.running
        if running is None or running.returncode is not None:
            return
        running.terminate()
        try:
            async with asyncio.timeout(patience):
                status = await running.wait()
        except TimeoutError:
            self.say(f"did not end within {patience:.0f} s; it is killed")
            running.kill()
            status = await running.wait()
        self.status = 0 if status == -signal.SIGTERM else status  # it had not begun to listen for signals


async def keep(plan: Plan, drain: float, say: Say = print) -> int:
    """Run a plan until SIGTERM or SIGINT; gives the exit status.

    The nodes start first, together; the front when they are ready. At the end the front is drained first, so that the
    rows it has accepted still find their nodes. Raises `UsageError` when a port is taken, and a `HansangError` when the
    kernel does not start a process.
    """
    for process in (*plan.nodes, plan.front):
        check_free(process)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    width = max(len(process.name) for process in (*plan.nodes, plan.front))
    nodes = [Kept(node, speaker(node.name, width, say)) for node in plan.nodes]
    front = Kept(plan.front, speaker(plan.front.name, width, say))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    keepers: list[asyncio.Task[None]] = []
    status = 0
    try:
        for group in (nodes, [front]):
            keepers += [loop.create_task(kept.keep()) for kept in group]
            status = await started(group, [*nodes, front], stopped, keepers)
            if status or stop.is_set():
                break
        else:
            say(f"{'ready':{width}} | {plan.front.url} with {', '.join(node.name for node in plan.nodes)}")
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await front.end(drain + GRACE)
        await asyncio.gather(*[node.end(drain + GRACE) for node in nodes])
        for task in (stopped, *keepers):
            task.cancel()
        done = await asyncio.gather(*keepers, return_exceptions=True)
    fault = next((error for error in done if isinstance(error, Exception)), None)
    if fault is not None:
        raise HansangError(f"a process could not be started: {fault}") from fault
    return status or int(any(kept.status for kept in (*nodes, front)))


async def started(
    group: Sequence[Kept], every: Sequence[Kept], stopped: asyncio.Task[bool], keepers: Sequence[asyncio.Task[None]]
) -> int:
    """Wait until a group is ready, or the start is over; gives the status of a process that could not start."""
    ready = asyncio.gather(*[kept.ready.wait() for kept in group])
    events: list[asyncio.Future[Any]] = [ready, stopped, *keepers, *(kept.failed for kept in every)]
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ready
    failed = [kept.failed.result() for kept in every if kept.failed.done()]
    return (2 if 2 in failed else 1) if failed else 0


def check_free(process: Process) -> None:
    """Refuse a port that another server has: it would be taken for the process that cannot start because of it."""
    with socket.socket(socket.AF_INET6 if ":" in process.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((process.host, process.port))
        except OSError as error:
            raise UsageError(
                f"{process.name} cannot listen on {process.host}:{process.port}: {error.strerror}"
            ) from error


def speaker(name: str, width: int, say: Say) -> Say:
    """Put a name before every line."""
    return lambda line: say(f"{name:{width}} | {line}")
