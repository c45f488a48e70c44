"""A log file that several processes write to, and that is set aside by size and by time."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

PERIODS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "never": ""}
STAMP = "%Y-%m-%dT%H%M%S"
SET_ASIDE = re.compile(r"\d{4}-\d\d-\d\dT\d{6}(\.\d+)?")
AGAIN = 60.0  # seconds between two complaints that the file cannot be written


class RotatingFile(logging.Handler):
    """Appends lines to a file, which is renamed to `name-<time>.log` when it is full or its hour or day is over.

    Any number of processes may write to the same file: each line is one appending write, one process renames while it
    holds a lock, and the others notice before their next line that the file is another one. Nobody waits for the lock.
    `max_bytes` is 0 for no limit, `every` is local time, `keep` is the number of files set aside that stay. A file that
    something else has moved or deleted is made again. When the disk is full, lines are lost, and standard error says so
    once a minute.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        max_bytes: int = 64 * 1024 * 1024,
        every: Literal["hour", "day", "never"] = "day",
        keep: int = 14,
    ) -> None:
        if every not in PERIODS:
            raise ValueError(f"every must be one of {', '.join(PERIODS)}, not {every!r}")
        for name, value in (("max_bytes", max_bytes), ("keep", keep)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, not {value!r}")
        super().__init__()  # from now on logging knows it, and may close it
        self.path = Path(filename)
        self.max_bytes, self.every, self.keep = max_bytes, every, keep
        self._file = -1
        self._inode = -1
        self._complained = -AGAIN

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        try:
            self.append((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.complain(error)
        except Exception:
            self.handleError(record)

    def append(self, line: bytes) -> None:
        """Append bytes that end a line; several lines at once go to the same file."""
        try:
            found = os.stat(self.path)
            if self.is_over(found, len(line)) and self.set_aside(len(line)):
                found = os.stat(self.path)
        except FileNotFoundError:
            self.open()
        else:
            if found.st_ino != self._inode:
                self.open()
        os.write(self._file, line)

    def is_over(self, found: os.stat_result, more: int) -> bool:
        """Say whether the next line belongs into another file."""
        if not found.st_size:
            return False
        if self.max_bytes and found.st_size + more > self.max_bytes:
            return True
        period = PERIODS[self.every]
        now = time.time()
        if not period or (int(found.st_mtime) // 60 == int(now) // 60):
            return False
        return time.strftime(period, time.localtime(found.st_mtime)) != time.strftime(period, time.localtime(now))

    def set_aside(self, more: int) -> bool:
        """Rename the file, unless another process is just doing so or has just done it."""
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.is_over(os.stat(self.path), more):
                return True
            stamp = time.strftime(STAMP)
            aside = self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}")
            number = 0
            while aside.exists():
                number += 1
                aside = self.path.with_name(f"{self.path.stem}-{stamp}.{number}{self.path.suffix}")
            os.rename(self.path, aside)
            self.open()
            self.forget()
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(lock)
        return True

    def forget(self) -> None:
        """Delete the oldest of the files that were set aside."""
        stem, suffix = self.path.stem + "-", self.path.suffix
        found = [
            path
            for path in self.path.parent.glob(f"{stem}*{suffix}")
            if SET_ASIDE.fullmatch(path.name.removeprefix(stem).removesuffix(suffix))
        ]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        for path in found[: max(len(found) - self.keep, 0)]:
            path.unlink(missing_ok=True)

    def open(self) -> None:
        """Open the file that has the name now, and make it and its folder when there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._inode = file, os.fstat(file).st_ino

    def complain(self, error: OSError) -> None:
        """Say on standard error that lines are lost, not for each of them."""
        now = time.monotonic()
        if now - self._complained >= AGAIN:
            self._complained = now
            with suppress(OSError):
                print(f"log lines are lost: {self.path}: {error.strerror or error}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            if self._file >= 0:
                os.close(self._file)
                self._file, self._inode = -1, -1
        finally:
            self.release()
        super().close()
