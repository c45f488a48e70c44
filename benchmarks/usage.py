"""CPU time and memory of a server with all its processes, read from /proc."""

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MARK = "HANSANG_BENCH_RUN"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int
    cpu_seconds: float


def tree(root: int, mark: str) -> list[int]:
    """Return the pids of a server: descendants, its session, and those that carry its mark in their environment.

    The mark finds what detached itself; descent finds what rewrote its environment to set a title.
    """
    processes = {process.pid: process for process in _all_processes()}
    found = {pid for pid, process in processes.items() if process.session == root or _carries(pid, mark)}
    found |= {root} & processes.keys()
    grown = True
    while grown:
        children = {pid for pid, process in processes.items() if process.parent in found} - found
        found |= children
        grown = bool(children)
    return sorted(found - {os.getpid()})


def cpu_seconds(pids: list[int]) -> float:
    """Return user and system time of the processes and of their children that have ended."""
    return sum(process.cpu_seconds for pid in pids if (process := _read(pid)) is not None)


def pss_mb(pids: list[int]) -> float:
    """Return the proportional share of memory: shared pages are counted once over the tree."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


def _all_processes() -> list[Process]:
    found = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return Process(pid, int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])) / TICK)


def _carries(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _pss_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


@dataclass
class MemoryWatch:
    """Samples the memory of a tree while a block runs: `(seconds since the start, MB)`."""

    root: int
    mark: str
    every: float = 0.5
    samples: list[tuple[float, float]] = field(default_factory=list)

    def __enter__(self) -> "MemoryWatch":
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            used = pss_mb(tree(self.root, self.mark))
            if used:
                self.samples.append((round(time.monotonic() - self._started, 2), round(used, 1)))
