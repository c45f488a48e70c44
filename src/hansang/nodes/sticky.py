"""What keeps the rows of one user together: their key, and a number that it always gets."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from hansang.call import Call

KEY = "key"


def point(salt: str, key: str) -> float:
    """Give a key its number in [0, 1), the same in every process and release; another salt gives independent ones."""
    digest = blake2b(f"{salt}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def key_of(row: Any, call: Call, by: str) -> str:
    """Give what a row is kept by: a field, else a header of this name, else (for `key`) the call's key, else its id."""
    value = row.get(by) if isinstance(row, Mapping) else getattr(row, by, None)
    if value is None:
        value = call.headers.get(by.lower())
    if value is None and by == KEY:
        value = call.key
    return str(value) if value is not None else row_id(call)


def row_id(call: Call) -> str:
    """Name one row of all that ever were."""
    return f"{call.id}/{call.row}"
