"""A store elsewhere, so used that it can be slow or gone without anybody noticing but the metrics."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from hashlib import blake2b

from hansang.nodes.cache.counts import Counts
from hansang.nodes.cache.entry import Entry, Unkept
from hansang.nodes.cache.store import OpenStore, Store
from hansang.nodes.cache.values import Unreadable, packed, unpacked
from hansang.nodes.cache.ways import Steps

log = logging.getLogger("hansang")

PATIENCE = 0.05
WRITE_PATIENCE = 1.0
REST = 1.0
MOST_WAITING = 10_000
ROWS_A_WRITE = 500
LARGEST = 1024 * 1024
DAY = 86400.0


class Far:
    """Reads and writes entries in a `Store`.

    A read that takes longer than `patience` seconds, or fails, is given up, and for a second nobody asks again; then
    one read tries. Writes are done behind the answers by a task that ends when there is nothing to write; at most
    `MOST_WAITING` entries wait for it. Nothing here raises.
    """

    def __init__(
        self,
        open_store: OpenStore,
        steps: Steps,
        counts: Counts,
        ttl: float | None,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._open, self.steps, self.counts, self.clock, self.patience = open_store, steps, counts, clock, patience
        self._opened: Store | None = None
        self.ttl = DAY if ttl is None else ttl
        self._rests = float("-inf")
        self._away = False
        self._waiting: deque[tuple[bytes, Entry]] = deque()
        self._writer: asyncio.Task[None] | None = None

    @property
    def store(self) -> Store:
        """The store, opened when it is first used."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def reachable(self) -> bool:
        """Say whether it is worth asking; when it rests, one a second is told to try."""
        if not self._away:
            return True
        now = self.clock()
        if now < self._rests:
            return False
        self._rests = now + REST
        return True

    async def get(self, keys: Sequence[bytes | None]) -> list[Entry | None] | None:
        """Find entries in one round trip; None when nobody answers."""
        names = [named(key) for key in keys if key is not None]
        if not names:
            return [None] * len(keys)
        try:
            async with asyncio.timeout(self.patience):
                values = await self.store.get([name.encode() for name in names])
        except Exception as error:
            self._fails(error)
            return None
        self._works()
        found = iter([self._read(name, value) for name, value in zip(names, values, strict=True)])
        return [None if key is None else next(found) for key in keys]

    def _read(self, name: str, value: bytes | None) -> Entry | None:
        if value is None:
            return None
        try:
            return unpacked(value, name[:16], self.steps)
        except Unreadable as error:
            self.counts.unkept("unreadable", error)
            return None

    def put(self, keys: Sequence[bytes], entries: Sequence[Entry]) -> None:
        """Keep entries, some time soon."""
        if self._away and not self._writer:
            self.counts.unkept("unreachable", "no answer since the last try", len(keys))
            return
        room = MOST_WAITING - len(self._waiting)
        if len(keys) > room:
            self.counts.unkept("dropped", f"{len(self._waiting)} entries wait already", len(keys) - room)
        self._waiting.extend(list(zip(keys, entries, strict=True))[: max(room, 0)])
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), context=Context())

    async def _write(self) -> None:
        try:
            while self._waiting:
                rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), ROWS_A_WRITE))]
                values = [value for row in rows if (value := self._packed(*row)) is not None]
                try:
                    async with asyncio.timeout(WRITE_PATIENCE):
                        await self.store.put(values, self.ttl)
                except Exception as error:
                    self._fails(error, len(rows) + len(self._waiting))
                    self._waiting.clear()
        finally:
            self._writer = None

    def _packed(self, key: bytes, entry: Entry) -> tuple[bytes, bytes] | None:
        name = named(key)
        try:
            value = packed(entry, name[:16])
        except Unkept as error:
            self.counts.unkept("value", error)
            return None
        if len(value) > LARGEST:
            self.counts.unkept("large", f"it has {len(value)} bytes, more than {LARGEST}")
            return None
        return name.encode(), value

    def _fails(self, error: Exception, rows: int = 1) -> None:
        late = isinstance(error, TimeoutError)
        self.counts.unkept("unreachable", "no answer in time" if late else f"{type(error).__name__}: {error}", rows)
        self._away, self._rests = True, self.clock() + REST

    def _works(self) -> None:
        if self._away:
            self._away = False
            log.info("%s: the cache's store answers again", self.counts.label)

    async def written(self) -> None:
        """Wait until what was to be kept has been written, or given up."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def close(self) -> None:
        """Write what waits, for a second at most, and close the store."""
        writer = self._writer
        if writer is not None:
            _, pending = await asyncio.wait([writer], timeout=WRITE_PATIENCE)
            if pending:
                self.counts.unkept("dropped", "the service ended", len(self._waiting))
                writer.cancel()
                await asyncio.wait([writer])
        store, self._opened = self._opened, None
        if store is None:
            return
        try:
            async with asyncio.timeout(WRITE_PATIENCE):
                await store.close()
        except Exception as error:
            self.counts.unkept("unreachable", f"{type(error).__name__}: {error}")


def named(key: bytes) -> str:
    """Give the name of a key in a store: its hash, in hexadecimal."""
    return blake2b(key, digest_size=24).hexdigest()
