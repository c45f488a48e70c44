"""Many server processes on one socket, and the parent that keeps them alive."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from hansang.errors import HansangError, UsageError
from hansang.server.parent import orphaned
from hansang.server.serving import METRICS_FOLDER
from hansang.settings import Settings

log = logging.getLogger("hansang")

SILENCE = 30.0
SETTINGS = "HANSANG_WORKER_SETTINGS"
ANNOUNCE = "+"  # behind the number of the worker that says where the service is
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0


@dataclass(slots=True, eq=False)
class Worker:
    """One place among the workers: its process, the pipe it beats on, and when it may start again."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    pipe: int = -1
    beat: float = 0.0
    born: float = 0.0
    delay: float = FIRST_DELAY
    due: float = 0.0
    lived: bool = field(default=False)
    words: str = ""


class Workers:
    """Starts the workers, starts a dead one again, ends one whose event loop is stuck, and drains all on SIGTERM.

    Each worker writes a byte a second to its pipe, from its event loop; a worker that has been silent for
    `SILENCE` seconds is killed. A worker whose parent died notices it by the same pipe. When one ends before any was
    ready, the start has failed; the worker's last words on the pipe say why.
    """

    def __init__(self, target: str, settings: Settings, listener: socket.socket) -> None:
        self.target = target
        self.settings = settings
        self.listener = listener
        self.workers = [Worker(number) for number in range(settings.workers)]
        self.selector = selectors.DefaultSelector()
        self.stopping = False

    def run(self) -> int:
        """Run until a signal ends it; gives the exit status. Raises a `HansangError` when the start fails."""
        folder = tempfile.mkdtemp(prefix="hansang-metrics-")
        os.environ[METRICS_FOLDER] = folder
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        try:
            with self._signals():
                return self._loop()
        finally:
            self._end()
            shutil.rmtree(folder, ignore_errors=True)

    def _loop(self) -> int:
        while not self.stopping and not orphaned():
            now = time.monotonic()
            for worker in self.workers:
                if worker.process is None and now >= worker.due:
                    self._start(worker)
            for key, _ in self.selector.select(1.0):
                self._hear(key.data)
            self._look()
        return 0

    def _hear(self, worker: Worker | None) -> None:
        if worker is None:
            return  # a signal; its handler has run
        data = os.read(worker.pipe, 4096)
        beats, _, words = data.partition(b"!")
        worker.words += words.decode(errors="replace")
        if beats:
            worker.beat = time.monotonic()
            worker.lived = True
        if not data:
            self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        """Close the pipe of a worker that ended."""
        self.selector.unregister(worker.pipe)
        os.close(worker.pipe)
        worker.pipe = -1

    def _look(self) -> None:
        """Note who died or is stuck."""
        now = time.monotonic()
        for worker in self.workers:
            process = worker.process
            if process is None:
                continue
            if process.poll() is None and worker.beat and now - worker.beat > SILENCE:
                log.error(
                    "worker %d (pid %d) has been stuck for %.0f s; it is killed", worker.number, process.pid, SILENCE
                )
                process.kill()
                process.wait()
            if process.poll() is not None and not self.stopping:
                self._bury(worker, process.returncode)

    def _bury(self, worker: Worker, status: int) -> None:
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        while worker.pipe >= 0:
            try:
                self._hear(worker)
            except BlockingIOError:  # a process that the worker left behind holds the other end
                self._forget(worker)
        if not any(each.lived for each in self.workers):
            words = worker.words or f"a worker ended {how} before it was ready"
            raise UsageError(words) if status == 2 else HansangError(words)
        how, worker.words = f"{how}: {worker.words}" if worker.words else how, ""
        long_ago = time.monotonic() - worker.born > 60.0
        worker.delay = FIRST_DELAY if long_ago else min(worker.delay * 2.0, LONGEST_DELAY)
        worker.process, worker.due, worker.beat = None, time.monotonic() + worker.delay, 0.0
        log.error("worker %d ended %s; it starts again in %.1f s", worker.number, how, worker.delay)

    def _start(self, worker: Worker) -> None:
        ear, mouth = os.pipe()
        os.set_blocking(ear, False)
        first = worker.number == 0 and not worker.lived
        command = [
            *(sys.executable, "-P", "-m", "hansang.server.worker"),
            *(self.target, str(self.listener.fileno()), str(mouth), f"{worker.number}{ANNOUNCE if first else ''}"),
        ]
        environment = os.environ | {SETTINGS: self.settings.model_dump_json()}  # a command line is not secret
        worker.process = subprocess.Popen(command, pass_fds=(self.listener.fileno(), mouth), env=environment)
        os.close(mouth)
        worker.pipe, worker.born, worker.beat = ear, time.monotonic(), 0.0
        self.selector.register(ear, selectors.EVENT_READ, worker)

    def _end(self) -> None:
        """Let the workers drain, then end those that do not."""
        self.listener.close()  # when the last worker closes its own, new connections are refused
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.terminate()
        until = time.monotonic() + self.settings.drain_timeout + 10.0
        for worker in self.workers:
            if worker.process is not None:
                try:
                    worker.process.wait(max(until - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
        self.selector.close()

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """Turn SIGTERM and SIGINT into `stopping`, and wake the selector."""
        ear, mouth = socket.socketpair()
        ear.setblocking(False)
        mouth.setblocking(False)
        self.selector.register(ear, selectors.EVENT_READ, None)

        def stop(number: int, frame: Any) -> None:
            self.stopping = True

        old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        wakeup = signal.set_wakeup_fd(mouth.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in old.items():
                signal.signal(number, handler)
            ear.close()
            mouth.close()
