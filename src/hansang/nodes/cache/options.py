"""What may be said of a cached node, checked where it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hansang.errors import UsageError
from hansang.nodes.cache.store import OpenStore, redis_at

MAX_ROWS = 100_000
MAX_BYTES = 64 * 1024 * 1024


def seconds(name: str, ttl: float | None) -> float | None:
    """Take how long an answer is good."""
    if ttl is not None and not ttl > 0:
        raise UsageError(f"the ttl of {name} is in seconds, above 0, got {ttl!r}")
    return ttl


def store_of(store: Any, name: str) -> OpenStore | None:
    """Take a URL, or a function that opens a store."""
    if isinstance(store, str):
        return redis_at(store, name)
    if store is not None and not callable(store):
        raise UsageError(f"the store of {name} is a URL or a function that opens a store, got {store!r}")
    opened: OpenStore | None = store
    return opened


def bounds_of(name: str, store: OpenStore | None, max_rows: int | None, max_bytes: int | None) -> tuple[int, int]:
    """Take the bounds of the memory of this process."""
    for option, most in (("max_rows", max_rows), ("max_bytes", max_bytes)):
        if most is not None and store is not None:
            raise UsageError(f"{option} of {name} bounds the memory of this process; its store has bounds of its own")
        if most is not None and not most > 0:
            raise UsageError(f"{option} of {name} must be above 0, got {most!r}")
    return max_rows or MAX_ROWS, max_bytes or MAX_BYTES


def fields(name: str, key: Any) -> tuple[str, ...] | Callable[[Any], Any] | None:
    """Take what of a row counts: names of fields, a function, or all of it."""
    if key is None or callable(key):
        return key  # type: ignore[no-any-return]  # what a user's function gives is the user's
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names:
        raise UsageError(f"the key of {name} has no fields; name some, or leave key= out to take the whole row")
    return names
