"""Entries in the memory of this process: the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from hansang.nodes.cache.entry import Entry

OVERHEAD = 230
"""What the interpreter needs for an entry beside its key and its outcome: as `tests/nodes/cache` measures it."""

needed = itemgetter(2)


class Memory:
    """At most so many rows, and so many bytes: keys, outcomes and what the interpreter adds are counted."""

    def __init__(self, max_rows: int, max_bytes: int, clock: Callable[[], float]) -> None:
        self.max_rows, self.max_bytes, self.clock = max_rows, max_bytes, clock
        self.bytes = 0
        self._entries: OrderedDict[Any, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, keys: Sequence[bytes | None]) -> list[Entry | None]:
        """Find entries; one whose time is over is forgotten."""
        entries = self._entries
        found: list[Entry | None] = list(map(entries.get, keys))
        missing = found.count(None)
        if missing == len(found):
            return found
        now, used = self.clock(), entries.move_to_end
        if not missing and min([entry[4] for entry in found if entry is not None]) > now:
            deque(map(used, keys), maxlen=0)
            return found
        for place, entry in enumerate(found):
            if entry is None:
                continue
            key = keys[place]
            if entry[4] > now:
                used(key)
            else:
                found[place] = None
                if entries.pop(key, None) is not None:  # else it stood in the batch before
                    self.bytes -= size(key, entry)
        return found

    def put(self, keys: Sequence[bytes], kept: Sequence[Entry]) -> int:
        """Keep entries; gives how many were too large to be kept at all."""
        entries, most, refused = self._entries, self.max_bytes, 0
        new = entries.keys().isdisjoint(keys) and len(set(keys)) == len(keys)
        if new and OVERHEAD + max(map(len, keys)) + max(map(needed, kept)) <= most:
            entries.update(zip(keys, kept, strict=True))
            self.bytes += sum(map(needed, kept)) + sum(map(len, keys)) + OVERHEAD * len(keys)
        else:
            refused = self._put_each(keys, kept)
        total, rows = self.bytes, self.max_rows
        while total > most or len(entries) > rows:
            key, entry = entries.popitem(last=False)
            total -= entry[2] + len(key) + OVERHEAD
        self.bytes = total
        return refused

    def _put_each(self, keys: Sequence[bytes], kept: Sequence[Entry]) -> int:
        """Keep entries one by one: some are there already, or are too large."""
        entries, refused = self._entries, 0
        for key, entry in zip(keys, kept, strict=True):
            if size(key, entry) > self.max_bytes:
                refused += 1
                continue
            old = entries.pop(key, None)
            self.bytes += size(key, entry) - (size(key, old) if old is not None else 0)
            entries[key] = entry
        return refused


def size(key: Any, entry: Entry) -> int:
    """Give the bytes that an entry takes, all in all."""
    return entry[2] + len(key) + OVERHEAD
