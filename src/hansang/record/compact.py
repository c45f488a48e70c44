"""The compactor: a process of low priority that turns finished segments into Parquet, and keeps these files.

    python -m hansang.record.compact DIR

One works per record; it is woken through a FIFO by every writer that closes a segment, sleeps without a timer when
nothing is due, and ends when its standard input does, after a last look. It can be killed at any moment.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hansang.extras import require
from hansang.logs.config import configure_helper
from hansang.record.frame import Damage
from hansang.record.record import WAKE, nudge
from hansang.record.segment import KINDS, finished_segments, is_abandoned, list_segments, lock, segment_writer
from hansang.record.sinks.owner import Owner
from hansang.record.upkeep import Upkeep

log = logging.getLogger("hansang.record")

NICE = 10  # a tenth of what the server gets of a core they share: more than its rows need, so the spool is bounded
FIRST_RETRY, LAST_RETRY = 1.0, 60.0  # seconds
PATIENCE = 2.0  # seconds that a dying process may take to let go of a lock
PAUSE = 0.02


@dataclass(slots=True)
class Compactor:
    """Works on the finished segments of one record; `retry` is the time to the next attempt when some failed."""

    folder: Path
    retry: float | None = None
    said: set[tuple[str, str]] = field(default_factory=set)

    def work(self) -> None:
        """Convert all segments that are finished; one that fails does not hold up the others."""
        failed = False
        worked = False
        for segment in finished_segments(self.folder):
            worked = True
            try:
                self.convert(segment)
            except FileNotFoundError:
                continue  # it was closed just now, under its other name
            except Exception as error:  # whatever is wrong with one segment, the others go on
                failed = True
                self.say(segment, f"waits: {type(error).__name__}: {error}")
        if worked:
            require("hansang.record.parquet", "").release()
        if failed:
            self.retry = min(2 * self.retry, LAST_RETRY) if self.retry else FIRST_RETRY
        else:
            self.retry = None

    def convert(self, segment: Path) -> None:
        """Turn one segment into Parquet; pyarrow is imported with the first one."""
        convert: Callable[[Path, Path], Damage] = require("hansang.record.parquet", "").convert
        damage = convert(segment, self.folder)
        if damage.rows:
            self.say(segment, f"is damaged: at least {damage.rows} rows are lost; it is kept under corrupt/")

    def keep_up(self, upkeep: Upkeep, wake: int, came: bool) -> None:
        """Look after the Parquet files; new segments go first, and the end of the owner ends it."""
        steps = upkeep.steps(force=came)
        try:
            for _ in steps:
                ready, _, _ = select.select([0, wake], [], [], 0)
                if 0 in ready:
                    return
                if wake in ready:
                    os.read(wake, 4096)
                    self.work()
        except Exception as error:  # whatever is wrong with old files, new segments go on; it is tried again
            log.warning("the upkeep waits: %s: %s", type(error).__name__, error)
        finally:
            steps.close()

    def say(self, segment: Path, text: str) -> None:
        """Tell the operator, once."""
        if (segment.name, text) not in self.said:
            self.said.add((segment.name, text))
            log.warning("segment %s %s", segment.name, text)

    def run(self, owner: int) -> None:
        """Work whenever somebody wakes us, until standard input ends."""
        with Owner(self.folder) as sinks:
            with listening(self.folder) as wake:
                self.follow(sinks, wake)
            # nobody listens any more: the next server starts a compactor of its own, which waits for this place
            let_go(self.folder, owner)
            self.work()
            sinks.look()

    def follow(self, sinks: Owner, wake: int) -> None:
        """Work until standard input ends."""
        upkeep = Upkeep(self.folder, sinks.spared)
        came = True
        while True:
            self.work()
            sinks.look()
            self.keep_up(upkeep, wake, came)
            waits = [seconds for seconds in (self.retry, upkeep.wait, sinks.wait) if seconds is not None]
            ready, _, _ = select.select([0, wake, *sinks.ears], [], [], min(waits, default=None))
            came = wake in ready
            if came:
                os.read(wake, 4096)
            if 0 in ready and not os.read(0, 4096):
                return


@contextmanager
def listening(folder: Path) -> Iterator[int]:
    """Open the FIFO that writers wake us through; open for writing too, it never ends."""
    path = folder / WAKE
    try:
        os.mkfifo(path)
    except FileExistsError:
        pass
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def let_go(folder: Path, owner: int) -> None:
    """Wait until the process that started us, which is ending, holds no segment any more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and any(
        segment_writer(path) == owner and not is_abandoned(path)
        for kind in KINDS
        for path in list_segments(folder, ".open", kind=kind)
    ):
        time.sleep(PAUSE)


def take_place(folder: Path) -> int | None:
    """Become the compactor of a record, or wake the one there is; a file that is locked, or None.

    The lock may be held by one that is ending and no longer listens: its place is taken when it is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "compactor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    while not lock(descriptor):
        if nudge(folder):
            os.close(descriptor)
            return None
        time.sleep(PAUSE)
    return descriptor


def step_back() -> None:
    """Leave the cores to the service; see `start_compactor` for what makes `nice` count.

    A batch process does not take a core from the service when it wakes up. Being idle (SCHED_IDLE) would make it give
    way faster still, but then it may find no core for minutes, also at the end, when the server waits for it, and
    Linux lets nobody without privileges give that back.
    """
    os.nice(NICE)
    with suppress(OSError):  # a sandbox may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main(arguments: list[str]) -> int:
    """Run the compactor of the record that is named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m hansang.record.compact DIR", file=sys.stderr)
        return 2
    owner = os.getppid()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # in the terminal's background it may still say what went wrong
    step_back()
    configure_helper("compactor")
    folder = Path(arguments[0])
    place = take_place(folder)
    if place is not None:
        Compactor(folder).run(owner)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
