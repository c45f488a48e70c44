from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hansang.record import Rows, Shared
from hansang.record.read import connect, query

SHARED = Shared("bikes", "/predict", "model", "models:/bikes", "3")
TIME = 1_795_000_000.25  # 2026-11-18T11:06:40Z

MakeRows = Callable[..., Rows]
ReadRows = Callable[..., list[dict[str, Any]]]


def rows_of(first: int, count: int, time: float = TIME, **changes: Any) -> Rows:
    numbers = range(first, first + count)
    values: dict[str, Any] = {
        "shared": SHARED,
        "batch_rows": count,
        "queue": 0.0005,
        "ids": [f"0198a000-0000-7000-8000-{n:012d}" for n in numbers],
        "time": time,
        "latencies": [0.001 + n * 1e-6 for n in numbers],
        "inputs": [b'{"x":%d}' % n for n in numbers],
        "outputs": [b'{"y":%d.5}' % n for n in numbers],
    }
    return Rows(**{**values, **changes})


@pytest.fixture
def make_rows() -> MakeRows:
    """Rows numbered from `first`: their ids, latencies, inputs and outputs tell the number."""
    return rows_of


@pytest.fixture
def read_rows() -> ReadRows:
    """All rows of a record by its view, in the order of their ids."""

    def read(folder: Path, columns: str = "*") -> list[dict[str, Any]]:
        with connect(folder) as connection:
            rows: list[dict[str, Any]] = query(connection, f"SELECT {columns} FROM predictions ORDER BY id").to_pylist()
            return rows

    return read


@contextmanager
def ended(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "compactor.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture
def wait_for_compactor() -> Callable[[Path], None]:
    """Wait until no compactor works on a record any more."""

    def wait(folder: Path) -> None:
        with ended(folder):
            pass

    return wait
