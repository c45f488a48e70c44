"""The process that brings the sinks of a record up to date, each in a thread of its own.

    python -m hansang.record.sinks.deliver DIR

The compactor starts it and writes a line to its standard input when there are new files; when that input ends, it
delivers what is there and ends. It can be killed at any moment: the next one goes on where it was.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa

from hansang.logs.config import configure_helper
from hansang.record.payloads import read_place
from hansang.record.segment import lock
from hansang.record.sinks.address import sink_of
from hansang.record.sinks.delivery import Delivery
from hansang.record.sinks.payloads import Mover
from hansang.record.sinks.position import FOLDER, Positions
from hansang.record.sinks.wanted import read_wanted

LOWEST = 19
PAUSE = 0.05
ENDING = 8.0  # seconds to deliver what is there when the owner ends


def step_back() -> None:
    """Run only where a core has nothing better to do, so that no answer is later for a sink's sake."""
    with suppress(OSError):  # a sandbox may forbid either
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run(folder: Path) -> None:
    """Deliver until standard input ends."""
    deliveries: list[Delivery | Mover] = [
        Delivery(folder, name, partial(sink_of, address), Positions(folder))
        for name, address in read_wanted(folder).sinks.items()
    ]
    place = read_place(folder)
    if place.url:
        deliveries.append(Mover(folder, place))
    threads = [threading.Thread(target=each.run, name=each.name, daemon=True) for each in deliveries]
    for thread in threads:
        thread.start()
    while os.read(0, 4096):
        for each in deliveries:
            each.news.set()
    until = time.monotonic() + ENDING
    for each in deliveries:
        each.until = until
        each.ending.set()
        each.news.set()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))


def take_place(folder: Path) -> int:
    """Become the one that delivers; one that is just ending is waited for."""
    path = folder / FOLDER / "deliver.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    while not lock(descriptor):
        time.sleep(PAUSE)
    return descriptor


def main(arguments: list[str]) -> int:
    """Deliver the record that is named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m hansang.record.sinks.deliver DIR", file=sys.stderr)
        return 2
    step_back()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    folder = Path(arguments[0])
    configure_helper("delivery")
    take_place(folder)
    run(folder)
    logging.shutdown()
    os._exit(0)  # a client that hangs must not keep the process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
