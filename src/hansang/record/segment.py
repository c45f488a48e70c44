"""A segment: one append-only file of the spool, written by one process.

    spool/<name>.new      being made; nobody reads it
    spool/<name>.open     being written; the writer holds a lock on it, a free lock says that the writer died
    spool/<name>.closed   complete, ended by a frame that says how many rows it holds

The name starts with the UTC time of the first row, and a segment never crosses an hour, so that the name alone says
which file of the record it becomes.
"""

from __future__ import annotations

import calendar
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

from hansang.errors import RecordError
from hansang.record.frame import Damage, Frames, last_frame

HEADER = Struct("<8sIId8sI")
MAGIC = b"hansang\n"
VERSION = 1
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STALE_NEW = 60.0  # seconds between making a file and its first lock that no living writer needs
PREDICTIONS, FEEDBACK = KINDS = ("predictions", "feedback")


def spool_folder(folder: Path, kind: str = PREDICTIONS) -> Path:
    """Give the folder of the segments of one kind of rows of a record."""
    return folder / "spool" if kind == PREDICTIONS else folder / "spool" / kind


def segment_kind(path: Path) -> str:
    """Tell from a segment's place what its rows are."""
    return PREDICTIONS if path.parent.name == "spool" else path.parent.name


@dataclass(slots=True)
class OpenSegment:
    """The segment that this process is writing; `size` and `rows` are those of the frames that are in it."""

    path: Path
    descriptor: int
    sync: bytes
    since: float
    hour: int
    size: int
    rows: int = 0

    def append(self, frame: bytes, rows: int, *, sync: bool) -> None:
        """Write a frame whole or not at all: after an `OSError` the file ends where it ended before."""
        try:
            written = os.write(self.descriptor, frame)
            while written < len(frame):
                written += os.write(self.descriptor, memoryview(frame)[written:])
            if sync:
                os.fdatasync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += written
        self.rows += rows

    def finish(self, *, sync: bool) -> None:
        """Close the segment: from now on it belongs to the compactor.

        Raises `FileNotFoundError` when somebody removed the file, so that its rows are counted as lost.
        """
        try:
            try:
                self.append(last_frame(self.sync, self.rows), 0, sync=sync)
            except OSError as error:
                if error.errno not in FULL:
                    raise
            os.rename(self.path, self.path.with_suffix(".closed"))
            if sync:
                sync_folder(self.path.parent)
        finally:
            os.close(self.descriptor)


def create_segment(spool: Path, now: float, *, since: float, sync: bool) -> OpenSegment:
    """Make the segment whose first row is of this time and take its lock."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    name = f"{stamp}-{os.getpid()}-{os.urandom(6).hex()}"
    marker = os.urandom(8)
    head = HEADER.pack(MAGIC, VERSION, HEADER.size, now, marker, 0)[:-4]
    head += crc32(head).to_bytes(4, "little")
    path = spool / f"{name}.open"
    made = spool / f"{name}.new"
    spool.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    segment = OpenSegment(path, descriptor, marker, since, int(now // 3600), 0)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.append(head, 0, sync=sync)
        os.rename(made, path)
        if sync:
            sync_folder(spool)
    except OSError:
        os.close(descriptor)
        made.unlink(missing_ok=True)
        raise
    return segment


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_segment(data: bytes, name: str, *, closed: bool = False) -> Frames:
    """Give the frames of a segment's bytes; a damaged header leaves none and counts as at least one lost row.

    Raises `RecordError` when the segment is of a version that this Hansang does not know.
    """
    if len(data) >= HEADER.size:
        magic, version, size, _, sync, crc = HEADER.unpack_from(data)
        if magic == MAGIC and crc32(data[: HEADER.size - 4]) == crc:
            if version != VERSION:
                raise RecordError(f"segment {name} is of version {version}; this Hansang reads version {VERSION}")
            return Frames(data, sync, size, closed)
    return Frames(data, b"", len(data), closed, Damage(frames=1, rows=1) if data else Damage())


def segment_time(path: Path) -> float:
    """Read the time of a segment's first row from its name."""
    return calendar.timegm(time.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S"))


def segment_writer(path: Path) -> int:
    """Read the process that writes a segment from its name."""
    return int(path.name.split("-")[1])


def parquet_path(folder: Path, segment: Path) -> Path:
    """Give the file that a segment becomes: always the same one, so that doing it twice overwrites itself."""
    name = segment.stem
    return folder / segment_kind(segment) / f"dt={name[0:4]}-{name[4:6]}-{name[6:8]}" / f"{name}.parquet"


def list_segments(folder: Path, *suffixes: str, kind: str = PREDICTIONS) -> list[Path]:
    """List the segments of one kind with these suffixes, oldest first."""
    try:
        with os.scandir(spool_folder(folder, kind)) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.endswith(suffixes)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


def lock(descriptor: int) -> bool:
    """Take the lock of an open file; False when somebody holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def finished_segments(folder: Path) -> Iterator[Path]:
    """Give the segments nobody writes to any more: the closed ones, and the open ones whose writer died."""
    paths = [path for kind in KINDS for path in list_segments(folder, ".closed", ".open", ".new", kind=kind)]
    for path in paths:
        if path.suffix == ".closed":
            yield path
        elif is_abandoned(path):
            if path.suffix == ".open":
                yield path
            else:
                path.unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Say whether the writer of a segment died."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if path.suffix == ".new" and time.time() - os.fstat(descriptor).st_mtime < STALE_NEW:
            return False
        return lock(descriptor)
    finally:
        os.close(descriptor)
