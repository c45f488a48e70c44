"""The process that brings the sinks of a record up to date, each in a thread of its own.

    python -m hansang.record.sinks.deliver DIR

The compactor starts it and writes a line to its standard input when there are new files; when that input ends, it
delivers what is there and ends. It can be killed at any moment: the next one goes on where it was.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
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
MOMENT = 0.2  # seconds to see whether news is followed by the end
ENDING = 8.0  # seconds to deliver what is there when the owner ends


def step_back() -> None:
    """Let this thread run only where a core has nothing better to do, so that no answer is later for a sink's sake.

    Linux keeps this for each thread, and gives it back to none.
    """
    with suppress(OSError):  # a sandbox may forbid either
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def stay() -> None:
    """Run as any other thread: somebody waits for the end already."""


def is_heard(seconds: float) -> bool:
    """Wait so long for news on standard input, or for its end; says whether either came."""
    return bool(select.select([0], [], [], seconds)[0])


def run(folder: Path) -> None:
    """Deliver until standard input ends, then what is there."""
    deliveries: list[Delivery | Mover] = [
        Delivery(folder, name, partial(sink_of, address), Positions(folder))
        for name, address in read_wanted(folder).sinks.items()
    ]
    place = read_place(folder)
    if place.url:
        deliveries.append(Mover(folder, place))
    over = is_heard(0.0) and not os.read(0, 4096)
    threads = [started(each, each.name, stay if over else step_back) for each in deliveries]
    while not over and os.read(0, 4096):
        if not is_heard(MOMENT):  # else there is more news, or the end, which is not for those that stand back
            for each in deliveries:
                each.news.set()
    until = time.monotonic() + ENDING
    for number, each in enumerate(deliveries):
        threads[number] = last(each, threads[number], until)
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))


def started(delivery: Delivery | Mover, name: str, before: Callable[[], None] = stay) -> threading.Thread:
    """Run a delivery in a thread of its own."""

    def work() -> None:
        before()
        delivery.run()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def last(delivery: Delivery | Mover, thread: threading.Thread, until: float) -> threading.Thread:
    """Deliver what is there at the end, and no longer than `until`; gives the thread that does it.

    Somebody waits for it now, so a delivery that rests is left where it is, and one that need not stand back takes its
    place: on a busy machine the first one would find no core.
    """
    if isinstance(delivery, Delivery) and delivery.resting.is_set():
        fresh = Delivery(delivery.folder, delivery.name, delivery.make, Positions(delivery.folder), until=until)
        fresh.ending.set()
        return started(fresh, f"{delivery.name} at the end")
    delivery.until = until
    delivery.ending.set()
    delivery.news.set()
    return thread


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
