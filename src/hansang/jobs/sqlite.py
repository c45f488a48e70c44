"""Jobs in one SQLite file that all processes of a machine share; they survive a restart."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from hansang.errors import JobsError, Unavailable, UsageError, problem
from hansang.jobs.store import OPEN, SWEEP, JobRow
from hansang.lanes import Lane

log = logging.getLogger("hansang")

VERSION = 1
PATIENCE = 10.0  # seconds to wait while another process writes
SCHEMA = """
    CREATE TABLE IF NOT EXISTS job_rows (
        id TEXT NOT NULL, row INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL,
        result BLOB NOT NULL, PRIMARY KEY (id, row)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS job_rows_expires ON job_rows (expires);
    CREATE INDEX IF NOT EXISTS job_rows_open ON job_rows (owner) WHERE state IN ('queued', 'running');
"""
ARE_OPEN = f"state IN ({', '.join(map(repr, OPEN))})"
LOST = "the process that worked on this row ended before it had an answer; send the row again"


class SqliteStore:
    """Keeps rows in a SQLite file (write-ahead log), off the event loop, one transaction a `put`.

    What was written survives a killed process; after a power loss the last moments may be missing. Every process that
    has it open holds a lock on a file of its own beside it, in `<path>.owners`: the kernel lets go of the lock when
    the process dies, and its open rows then fail, for whoever looks first. Rows are removed when they expire.

    Raises `UsageError` when it is entered and the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self.clock = clock
        self.owner = ""
        self._users = 0
        self._lane = Lane("jobs")
        self._file: sqlite3.Connection | None = None
        self._lock = -1
        self._swept = float("-inf")

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    async def __aenter__(self) -> SqliteStore:
        self._users += 1
        if self._users == 1:
            try:
                await self._lane.run(self._open)
            except BaseException:
                self._users = 0
                raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if not self._users:
            try:
                await asyncio.wait_for(self._lane.run(self._close), PATIENCE)
            except TimeoutError:
                log.error("%r does not close; its last rows may be missing", self)
            self._lane.close()

    async def put(self, rows: Sequence[JobRow]) -> None:
        """Write rows in one transaction."""
        await self._lane.run(lambda: self._put(rows))

    async def get(self, id: str) -> list[JobRow]:
        """Give the rows of an id in their order; open rows of a process that died have failed."""
        return await self._lane.run(lambda: self._get(id))

    # --- on the thread ---

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{self!r} cannot be opened: {error}; give a path that can be written") from error
        try:
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise UsageError(f"{self!r} is of version {version}; this Hansang reads version {VERSION}")
            use_log(file)
            file.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            self.owner, self._lock = take_owner(self._owners)
        except (OSError, sqlite3.Error) as error:
            file.close()
            raise UsageError(f"{self!r} cannot be used: {error}; give a path that can be written") from error
        except UsageError:
            file.close()
            raise
        self._file = file
        with self._writing() as cursor:
            self._bury(cursor)
            self._sweep(cursor)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            (self._owners / self.owner).unlink(missing_ok=True)
            os.close(self._lock)

    def _put(self, rows: Sequence[JobRow]) -> None:
        values = [(row.id, row.row, row.state, self.owner, row.expires, row.result) for row in rows]
        with self._writing() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO job_rows VALUES (?, ?, ?, ?, ?, ?)", values)
            if self.clock() - self._swept >= SWEEP:
                self._sweep(cursor)

    def _get(self, id: str) -> list[JobRow]:
        found = self._read(id)
        if any(state in OPEN and self._is_dead(owner) for _, state, owner, _, _ in found):
            with self._writing() as cursor:
                self._bury(cursor)
            found = self._read(id)
        return [JobRow(id, row, state, expires, result) for row, state, _, expires, result in found]

    def _read(self, id: str) -> list[Any]:
        query = "SELECT row, state, owner, expires, result FROM job_rows WHERE id = ? ORDER BY row"
        try:
            return self._connection.execute(query, [id]).fetchall()
        except sqlite3.Error as error:
            raise JobsError(f"{self!r} cannot be read: {error}") from error

    def _bury(self, cursor: sqlite3.Cursor) -> None:
        """Fail the open rows of every process that died."""
        owners = cursor.execute(f"SELECT DISTINCT owner FROM job_rows WHERE {ARE_OPEN}").fetchall()
        for (owner,) in owners:
            if self._is_dead(owner):
                rows = cursor.execute(
                    f"SELECT id, row FROM job_rows WHERE owner = ? AND {ARE_OPEN}", [owner]
                ).fetchall()
                lost = [(to_json(problem(Unavailable(LOST), id)), id, row) for id, row in rows]
                cursor.executemany("UPDATE job_rows SET state = 'failed', result = ? WHERE id = ? AND row = ?", lost)

    def _sweep(self, cursor: sqlite3.Cursor) -> None:
        """Remove the rows that have expired, and the locks of processes that died."""
        self._swept = self.clock()
        cursor.execute("DELETE FROM job_rows WHERE expires <= ?", [self._swept])
        for path in self._owners.iterdir():
            if not path.name.startswith(".") and self._is_dead(path.name):
                path.unlink(missing_ok=True)

    def _is_dead(self, owner: str) -> bool:
        return owner != self.owner and is_dead(self._owners / owner)

    @property
    def _owners(self) -> Path:
        return self.path.with_name(self.path.name + ".owners")

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._file is None:
            raise JobsError(f"{self!r} is not open; enter it with `async with`")
        return self._file

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """Write in one transaction, all or nothing."""
        file = self._connection
        try:
            cursor = file.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                file.execute("COMMIT")
            except BaseException:
                if file.in_transaction:
                    file.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise JobsError(f"{self!r} cannot be written: {error}") from error


def use_log(file: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait by itself for another process that does the same."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def take_owner(folder: Path) -> tuple[str, int]:
    """Take a lock that the kernel lets go of when this process dies; gives its name and its descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = f"{os.getpid()}-{os.urandom(6).hex()}"
    made = folder / f".{owner}"  # nobody looks at it before it is locked
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    made.rename(folder / owner)
    return owner, descriptor


def is_dead(path: Path) -> bool:
    """Say whether the process that took a lock has ended; one without a lock has."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
