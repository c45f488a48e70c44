"""The recorder: every answered row is in the record before its answer leaves, or its loss is counted."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from hansang.errors import RecordError
from hansang.record.files import size_of
from hansang.record.frame import encode
from hansang.record.losses import corrupt_rows, keep_losses
from hansang.record.segment import (
    FULL,
    PREDICTIONS,
    OpenSegment,
    create_segment,
    list_segments,
    segment_time,
    spool_folder,
)

WAKE = "wake"
SPOOL_LIMIT = "spool limit"
LOOK = 0.2  # seconds between two looks at a spool that is full
Encode = Callable[[bytes, int, Sequence[Any], int], tuple[bytes, int]]


class Group(Protocol):
    """Rows that are written together: `Rows` of predictions, or `Feedback`."""

    ids: list[str]
    time: float


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is closed, and the size in bytes above which a body is kept as its hash only.

    With `spool`, rows that come while so many bytes wait to become Parquet are lost and counted, or refused.
    """

    rows: int = 50_000
    bytes: int = 64 * 1024 * 1024
    seconds: float = 60.0
    body: int = 64 * 1024
    spool: int | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What the record says to metrics and readiness.

    `rows`, `bytes` and `lost` (rows by reason) are of this process since its start. `corrupt` rows of the whole folder
    cannot be read back. `spool_bytes` and `spool_segments` wait to become Parquet, `oldest` is the time of
    the first of them in seconds since the epoch. `failing` is the last write's error, empty when it went well.
    """

    rows: int
    bytes: int
    lost: Mapping[str, int]
    corrupt: int
    spool_bytes: int
    spool_segments: int
    oldest: float | None
    failing: str


@dataclass(slots=True)
class Recorder:
    """Appends answered rows to a spool under `folder`; entered, it also looks after the compactor.

    A row whose `write` returned survives the death of this process (`durability="cache"`), with `"sync"` also a power
    loss, at the price of one fdatasync a turn. When the disk is full or fails, `on_full="continue"` counts the rows
    as lost and lets the answers go on; `"stop"` raises `RecordError`, so that nothing is answered unrecorded.

    `write` works without entering; then nothing turns the segments into Parquet until somebody else runs the
    compactor. Leaving closes the segment and gives the compactor `patience` seconds to finish.

    What is written are predictions; `feedback.feedback_recorder` makes one for feedback, by its own `encoding`.
    """

    folder: Path
    limits: Limits = field(default_factory=Limits)
    durability: Literal["cache", "sync"] = "cache"
    on_full: Literal["continue", "stop"] = "continue"
    compact: bool = True
    patience: float = 10.0
    clock: Callable[[], float] = time.monotonic
    kind: str = PREDICTIONS
    encoding: Encode = encode
    lost: Counter[str] = field(default_factory=Counter, init=False)
    spooled: int = field(default=0, init=False)
    rows_written: int = field(default=0, init=False)
    bytes_written: int = field(default=0, init=False)
    failing: str = field(default="", init=False)
    _looked: float = field(default=-inf, init=False)
    _segment: OpenSegment | None = field(default=None, init=False)
    _compactor: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)

    # --- writing ---

    def write(self, groups: Sequence[Group]) -> None:
        """Append the rows of one turn, all or none.

        Raises `RecordError` when the groups are not well formed, and with `on_full="stop"` when the disk refuses.
        """
        if not groups:
            return
        try:
            if self.limits.spool is not None and self.spooled >= self.limits.spool and self._is_full():
                raise OSError(errno.EDQUOT, SPOOL_LIMIT)
            segment = self._segment or self._open(groups)
            if segment.hour != int(groups[0].time // 3600) or self._is_due(segment):
                self.roll()
                segment = self._open(groups)
            frame, rows = self.encoding(segment.sync, segment.rows, groups, self.limits.body)
            segment.append(frame, rows, sync=self.durability == "sync")
        except OSError as error:
            self._refuse(groups, error)
        else:
            self.rows_written += rows
            self.bytes_written += len(frame)
            self.spooled += len(frame)
            self.failing = ""

    def tick(self) -> None:
        """Close the segment when it is due; entered on an event loop, the recorder calls this by itself."""
        self._timer = None
        segment = self._segment
        if segment is None:
            return
        if self._is_due(segment):
            self.roll()
        else:
            self._watch(segment)

    def roll(self) -> None:
        """Close the segment that is open, whatever its age, and hand it to the compactor."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            segment.finish(sync=self.durability == "sync")
        except FileNotFoundError:
            self.lost["segment removed"] += segment.rows
        except OSError as error:  # the rows are in the file; without a lock it counts as left by a dead writer
            self.failing = describe(error)
        self._wake()

    def stats(self) -> Stats:
        """Look at the counters and at the spool; costs a directory listing."""
        segments: list[Path] = []
        corrupt = 0
        try:
            segments = list_segments(self.folder, ".open", ".closed", kind=self.kind)
            corrupt = corrupt_rows(self.folder)
            if any(path.suffix == ".closed" for path in segments) and not listens(self.folder):
                self._wake()  # the compactor that was told of them has ended
        except OSError as error:
            self.failing = describe(error)
        size = self.spooled = sum(size_of(path) for path in segments)
        keep_losses(self.folder, self.kind, self.lost)
        oldest = segment_time(segments[0]) if segments else None
        lost = dict(self.lost)
        return Stats(self.rows_written, self.bytes_written, lost, corrupt, size, len(segments), oldest, self.failing)

    def _is_full(self) -> bool:
        """Look whether the compactor has made room; only asked when it seems full, and then once a moment."""
        now = self.clock()
        if now - self._looked >= LOOK:
            self._looked = now
            self.roll()
            self.stats()
        return self.limits.spool is not None and self.spooled >= self.limits.spool

    def _open(self, groups: Sequence[Group]) -> OpenSegment:
        """Open a new segment for rows of this time."""
        spool = spool_folder(self.folder, self.kind)
        segment = create_segment(spool, groups[0].time, since=self.clock(), sync=self.durability == "sync")
        self._segment = segment
        self._watch(segment)
        return segment

    def _is_due(self, segment: OpenSegment) -> bool:
        limits = self.limits
        return (
            segment.rows >= limits.rows
            or segment.size >= limits.bytes
            or self.clock() - segment.since >= limits.seconds
        )

    def _watch(self, segment: OpenSegment) -> None:
        """Have the segment closed at its age even when no more rows come."""
        if self._loop is not None:
            rest = segment.since + self.limits.seconds - self.clock()
            self._timer = self._loop.call_later(max(rest, 0.001), self.tick)

    def _refuse(self, groups: Sequence[Group], error: OSError) -> None:
        """Count the rows as lost, or refuse to answer them."""
        full = error.errno in FULL
        reason = SPOOL_LIMIT if error.strerror == SPOOL_LIMIT else "disk full" if full else "write error"
        if not full:
            self.roll()  # a file that failed is not written to again
        self.failing = describe(error)
        if self.on_full == "stop":
            raise RecordError(f"the record cannot be written: {self.failing}") from error
        self.lost[reason] += sum(len(group.ids) for group in groups)

    # --- the compactor ---

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._wake()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.roll()
        keep_losses(self.folder, self.kind, self.lost)
        self._loop = None
        compactor, self._compactor = self._compactor, None
        if compactor is not None:
            let_go(compactor)
            await asyncio.to_thread(wait, compactor, self.patience)

    def _wake(self) -> None:
        """Tell the folder's compactor that there is work, and start it when there is none.

        The compactor of a folder is whichever process listens on its FIFO; it belongs to one recorder, serves all,
        and ends when its owner does. The next recorder that finds nobody listening starts the next one.
        """
        if self._loop is None or not self.compact:
            return
        try:
            if nudge(self.folder) or (self._compactor is not None and self._compactor.poll() is None):
                return
            if self._compactor is not None:
                let_go(self._compactor)
            self._compactor = start_compactor(self.folder)
        except OSError as error:
            self.failing = f"the compactor cannot be started: {describe(error)}"


def describe(error: OSError) -> str:
    """Say what the system refused."""
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)


def listener(folder: Path) -> int | None:
    """Open the way to the compactor of a record; None when nobody listens."""
    try:
        return os.open(folder / WAKE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENOENT}:
            return None
        raise


def listens(folder: Path) -> bool:
    """Say whether a record has a compactor that listens, without waking it."""
    descriptor = listener(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def nudge(folder: Path) -> bool:
    """Wake the compactor of a record; False when nobody listens."""
    descriptor = listener(folder)
    if descriptor is None:
        return False
    try:
        os.write(descriptor, b"\n")
    except BlockingIOError:
        pass  # so many wakes wait already that it will look
    except BrokenPipeError:
        return False
    finally:
        os.close(descriptor)
    return True


def start_compactor(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that turns segments into Parquet, in a process group of its own: Ctrl-C does not reach it.

    It stays in the session: Linux may give every session the same share of the cores (autogroup), and the compactor's
    low priority would then count for nothing against the server's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "hansang.record.compact", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)


def let_go(compactor: subprocess.Popen[bytes]) -> None:
    """Close the pipe that keeps a compactor alive."""
    if compactor.stdin is not None:
        compactor.stdin.close()


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a process to end; it goes on by itself when it takes longer."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # nobody will wait for it any more; it ends by itself
