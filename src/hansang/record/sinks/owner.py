"""What the compactor does for the sinks: it starts their process, tells it of new files, and spares what they need."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hansang.extras import require
from hansang.record.files import parquet_files, size_of
from hansang.record.keep import overdue, read_keep
from hansang.record.payloads import Place, read_place
from hansang.record.segment import KINDS
from hansang.record.sinks.position import Positions, there
from hansang.record.sinks.wanted import Wanted, read_wanted

log = logging.getLogger("hansang.record")

FIRST_WAIT, LAST_WAIT = 1.0, 60.0  # seconds until a process that died is started again
HEALTHY = 60.0  # seconds after which a death is not the start's fault
PATIENCE = 9.0  # seconds for the process to deliver what is there at the end


@dataclass(slots=True)
class Owner:
    """Owns the process that delivers to the sinks of one record; a context manager, used by the compactor alone.

    Only the compactor merges and deletes files, so that it is the one to say which sinks there are: no file can be
    merged between the two.
    """

    folder: Path
    clock: Callable[[], float] = time.monotonic
    process: subprocess.Popen[bytes] | None = None
    ear: int | None = None
    wanted: Wanted = field(default_factory=Wanted)
    place: Place = Place()
    positions: Positions | None = None
    started: float = 0.0
    deaths: int = 0
    due: float | None = None
    said: str = ""

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the process deliver what is there."""
        self._let_go()
        if self.positions is not None:
            self.positions.connection.close()

    @property
    def ears(self) -> list[int]:
        """What becomes readable when the process dies."""
        return [] if self.ear is None else [self.ear]

    @property
    def wait(self) -> float | None:
        """The seconds until the process is started again."""
        return None if self.due is None else max(self.due - self.clock(), 0.0)

    def look(self) -> None:
        """See to it that the sinks that are wanted, and no others, learn of what there is; it never raises."""
        try:
            self._look()
        except Exception as error:  # whatever is wrong with the sinks, the record goes on
            if str(error) != self.said:
                self.said = str(error)
                log.warning("the sinks wait: %s: %s", type(error).__name__, error)

    def _look(self) -> None:
        wanted = read_wanted(self.folder)
        if self.positions is None:
            if wanted.sinks or there(self.folder):
                self.positions = Positions(self.folder)
        place = read_place(self.folder)
        if (wanted, place) != (self.wanted, self.place):
            self._let_go()
            self.deaths, self.due = 0, None
        self.wanted, self.place = wanted, place
        if self.positions is not None:
            self._register(self.positions, wanted)
        if wanted.sinks or place.url:
            self._tell()

    def _register(self, positions: Positions, wanted: Wanted) -> None:
        files = [path for kind in KINDS for path in parquet_files(self.folder, kind)]
        positions.register(wanted.shown, files)
        if wanted.limit is not None:
            self._give_up(positions, wanted.limit)

    def spared(self, path: Path) -> bool:
        """Say whether a sink still needs a file under its name."""
        return self.positions is not None and bool(self.positions.lacking(path))

    def _give_up(self, positions: Positions, limit: int) -> None:
        """Let retention have the oldest files that it holds back, until they are within the limit."""
        paths, _ = overdue(self.folder, read_keep(self.folder), time.time())
        held = [path for path in paths if self.spared(path)]
        size = sum(map(size_of, held))
        for path in held:
            if size <= limit:
                break
            size -= size_of(path)
            rows = require("hansang.record.merge", "").count_rows(path)
            for sink, done in positions.lacking(path):
                positions.give_up(sink, path, rows - done)

    # --- the process ---

    def _tell(self) -> None:
        """Tell the process that there may be new files; start it when there is none, not too often."""
        if self.process is not None and self.process.poll() is not None:
            self.deaths = 0 if self.clock() - self.started > HEALTHY else self.deaths + 1
            self.due = self.clock() + min(FIRST_WAIT * 2.0 ** (self.deaths - 1), LAST_WAIT)
            self._let_go()
        if self.process is None and (self.due is None or self.clock() >= self.due):
            self._start()
        elif self.process is not None and self.process.stdin is not None:
            with suppress(BlockingIOError, BrokenPipeError):  # it knows already, or it has just died
                os.write(self.process.stdin.fileno(), b"\n")

    def _start(self) -> None:
        self.due, self.started = None, self.clock()
        command = [sys.executable, "-P", "-m", "hansang.record.sinks.deliver", str(self.folder)]
        self.ear, mouth = os.pipe()
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(mouth,), bufsize=0
            )
        finally:
            os.close(mouth)
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)

    def _let_go(self) -> None:
        """Close the pipe that keeps the process alive, and give it time to deliver what is there."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()  # it can be killed at any moment
                self.process.wait()
        if self.ear is not None:
            os.close(self.ear)
        self.process, self.ear = None, None
