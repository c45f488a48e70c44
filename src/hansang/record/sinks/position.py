"""What each sink of a record has, in `sinks/position.db` beside the rows: a SQLite file that survives kill -9.

After a power loss the last notes may be missing: their rows are delivered again, which no reader sees.

A file of the record counts as waiting for a sink until it is noted as done. A merged file has only rows of files that
every sink had (`Positions.spared` keeps others from being merged), so it counts as done; those that were there before
the sink are noted as waiting.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS sink (
    name TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    since REAL NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    error_time REAL,
    delivered_time REAL,
    behind_rows INTEGER NOT NULL DEFAULT 0,
    behind_bytes INTEGER NOT NULL DEFAULT 0,
    oldest REAL
);
CREATE TABLE IF NOT EXISTS file (
    sink TEXT NOT NULL,
    name TEXT NOT NULL,
    done INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    PRIMARY KEY (sink, name)
) WITHOUT ROWID;
"""
BUSY = 30.0  # seconds to wait for another process that writes
FOLDER, DATABASE = "sinks", "position.db"


@dataclass(frozen=True, slots=True)
class Position:
    """What is noted about one sink; counts are rows since it was set up, times seconds since the epoch.

    `quarantined` rows were refused by the sink and are kept under `sinks/quarantine`, `given_up` ones were deleted
    before it had them, because a limit said so. `failures` counts the failed attempts since the last success.
    """

    name: str
    url: str
    since: float
    delivered: int
    quarantined: int
    given_up: int
    retries: int
    failures: int
    error: str
    error_time: float | None
    delivered_time: float | None
    behind_rows: int
    behind_bytes: int
    oldest: float | None

    def age(self, now: float) -> float:
        """Give the age of the oldest row that waited at the last look, in seconds; 0 when none did."""
        return 0.0 if self.oldest is None else max(now - self.oldest, 0.0)


def file_name(path: Path) -> str:
    """Name a file of the record in the positions."""
    return f"{path.parent.parent.name}/{path.name}"


def is_merged(path: Path) -> bool:
    """Say whether a file was made of several; no process that writes segments has the number 0."""
    return path.name.split("-")[1] == "0"


class Positions:
    """The positions of one record's sinks; one object for each thread. A context manager."""

    def __init__(self, folder: Path) -> None:
        path = folder / FOLDER / DATABASE
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.executescript(SCHEMA)

    def __enter__(self) -> Positions:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change several things at once or none."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    # --- which sinks there are ---

    def register(self, sinks: Mapping[str, str], files: Sequence[Path]) -> None:
        """Say which sinks there are, by name with the URL to show, and which files when a new one begins.

        A sink that is gone is forgotten: when it comes back it gets everything again.
        """
        known = dict(self.connection.execute("SELECT name, url FROM sink").fetchall())
        if known == dict(sinks):
            return
        with self.transaction() as change:
            for name in known.keys() - sinks.keys():
                change.execute("DELETE FROM sink WHERE name = ?", [name])
                change.execute("DELETE FROM file WHERE sink = ?", [name])
            for name, url in sinks.items():
                change.execute(
                    "INSERT INTO sink (name, url, since) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET url = excluded.url",
                    [name, url, time.time()],
                )
                if name not in known:
                    merged = [(name, file_name(path)) for path in files if is_merged(path)]
                    change.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, 0, 0)", merged)

    def all(self) -> list[Position]:
        """Give every sink's position."""
        columns = ", ".join(Position.__slots__)
        return [Position(*row) for row in self.connection.execute(f"SELECT {columns} FROM sink ORDER BY name")]

    # --- which files they have ---

    def waiting(self, sink: str, files: Sequence[Path]) -> list[tuple[Path, int]]:
        """Give those of these files that a sink has not got completely, with the number of rows that it has."""
        query = "SELECT name, done, complete FROM file WHERE sink = ?"
        noted = {name: (done, complete) for name, done, complete in self.connection.execute(query, [sink])}
        found = []
        for path in files:
            done, complete = noted.get(file_name(path), (0, is_merged(path)))
            if not complete:
                found.append((path, done))
        return found

    def lacking(self, path: Path) -> list[tuple[str, int]]:
        """Give the sinks that have not got a file completely, with the number of rows that they have."""
        query = """
            SELECT sink.name, coalesce(file.done, 0) FROM sink
            LEFT JOIN file ON file.sink = sink.name AND file.name = ?
            WHERE NOT coalesce(file.complete, ?)
        """
        return list(self.connection.execute(query, [file_name(path), is_merged(path)]))

    def advance(self, sink: str, path: Path, done: int, rows: int, *, complete: bool, quarantined: int = 0) -> None:
        """Note that a sink has `done` rows of a file; `rows` of them are new."""
        with self.transaction() as change:
            change.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", [sink, file_name(path), done, complete])
            change.execute(
                "UPDATE sink SET delivered = delivered + ?, quarantined = quarantined + ?, failures = 0, error = '', "
                "delivered_time = ? WHERE name = ?",
                [rows - quarantined, quarantined, time.time(), sink],
            )

    def redelivered(self, sink: str, rows: int) -> None:
        """Note that a sink has taken rows that it had refused; how many it ever refused stays as it is."""
        with self.transaction() as change:
            change.execute("UPDATE sink SET delivered = delivered + ? WHERE name = ?", [rows, sink])

    def give_up(self, sink: str, path: Path, rows: int) -> None:
        """Note that a sink will not get the rest of a file, so many rows."""
        with self.transaction() as change:
            change.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, 1)", [sink, file_name(path), rows])
            change.execute("UPDATE sink SET given_up = given_up + ? WHERE name = ?", [rows, sink])

    def forget(self, files: Iterable[Path]) -> None:
        """Forget files that are no longer there; only these are given."""
        present = {file_name(path) for path in files}
        noted = {name for (name,) in self.connection.execute("SELECT DISTINCT name FROM file")}
        with self.transaction() as change:
            change.executemany("DELETE FROM file WHERE name = ?", [(name,) for name in noted - present])

    # --- how it goes ---

    def failed(self, sink: str, text: str) -> None:
        """Note a failed attempt."""
        with self.transaction() as change:
            change.execute(
                "UPDATE sink SET failures = failures + 1, retries = retries + 1, error = ?, error_time = ? "
                "WHERE name = ?",
                [text, time.time(), sink],
            )

    def behind(self, sink: str, rows: int, size: int, oldest: float | None) -> None:
        """Note how much waits for a sink."""
        with self.transaction() as change:
            change.execute(
                "UPDATE sink SET behind_rows = ?, behind_bytes = ?, oldest = ? WHERE name = ?",
                [rows, size, oldest, sink],
            )


def there(folder: Path) -> bool:
    """Say whether a record has, or had, sinks."""
    return os.path.exists(folder / FOLDER / DATABASE)
