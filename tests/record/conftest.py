from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hansang.record.read import connect, query
from tests.record.making import MakeRows, ReadRows, rows_of


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


@pytest.fixture
def wait_for_compactor() -> Callable[[Path], None]:
    """Wait until no compactor works on a record any more."""

    def wait(folder: Path) -> None:
        descriptor = os.open(folder / "compactor.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    return wait
