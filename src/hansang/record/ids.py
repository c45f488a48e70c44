"""Which predictions a Parquet file holds, in eight bytes each: asked without Parquet, Arrow or DuckDB.

`ids/predictions/dt=…/<name>.ids` stands beside `predictions/dt=…/<name>.parquet`, and the same for feedback: a header
with the times of the first and the last id, then the sorted 64-bit keys of the ids. Of two million million million
ids, two share a key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from struct import error as StructError

import numpy as np

from hansang.record.files import ids_path
from hansang.record.frame import ID_SIZE

HEADER = Struct("<8sQQQ")
MAGIC = b"hsids 1\n"
MIX = np.uint64(0x9E3779B97F4A7C15)
Keys = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Span:
    """The ids of one file: how many, and the times of the first and the last in milliseconds since the epoch."""

    path: Path
    count: int
    first: int
    last: int

    def keys(self) -> Keys:
        """Map the sorted keys; only the pages that a search touches are read."""
        return np.memmap(self.path, "<u8", "r", HEADER.size, (self.count,))


def keys_of(ids: bytes) -> tuple[Keys, Keys]:
    """Give the key and the milliseconds of ids that lie one after the other; raises `ValueError` for what is no id."""
    raw = bytes.fromhex(ids.replace(b"-", b"").decode())
    if len(raw) * ID_SIZE != len(ids) * 16:
        raise ValueError("an id is a UUID of 36 characters")
    halves = np.frombuffer(raw, ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 1] ^ (halves[:, 0] * MIX), halves[:, 0] >> np.uint64(16)


def write_ids(ids: bytes, parquet: Path) -> None:
    """Write the ids of a Parquet file that is about to appear; ids that are no UUIDs have no such file."""
    try:
        keys, milliseconds = keys_of(ids)
    except ValueError:
        return
    keys = np.unique(keys)
    path = ids_path(parquet)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(HEADER.pack(MAGIC, len(keys), int(milliseconds.min()), int(milliseconds.max())))
        file.write(keys.astype("<u8").tobytes())
    os.replace(temporary, path)


def read_span(path: Path) -> Span | None:
    """Read the header of a file of ids; None when there is none that is whole."""
    try:
        with open(path, "rb") as file:
            magic, count, first, last = HEADER.unpack(file.read(HEADER.size))
            size = os.fstat(file.fileno()).st_size
    except (OSError, StructError):
        return None
    return Span(path, count, first, last) if magic == MAGIC and size == HEADER.size + 8 * count else None
