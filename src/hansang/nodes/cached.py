"""Cached: rows that were answered before, or are being answered now, are not computed again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hansang.batch import Batch
from hansang.dispatch import Dispatcher, Part
from hansang.fingerprint import described
from hansang.graph import Node, as_node
from hansang.nodes.cache.cache import Cache
from hansang.nodes.cache.counts import Counts
from hansang.nodes.cache.far import PATIENCE, Far
from hansang.nodes.cache.key import Identity, Keys, picker
from hansang.nodes.cache.memory import Memory
from hansang.nodes.cache.options import MAX_BYTES, MAX_ROWS, bounds_of, fields, seconds, store_of
from hansang.nodes.cache.store import OpenStore
from hansang.site import Site

log = logging.getLogger("hansang")


@dataclass(frozen=True, slots=True, eq=False)
class Cached(Dispatcher):
    """Answer a row from a cache where it can, else by the node inside; see `cached`. Each bound copy has its own."""

    node: Node
    ttl: float | None = None
    store: OpenStore | None = None
    key: Any = None
    vary: tuple[str, ...] = ()
    errors: bool = False
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    version: str = ""
    name: str = "cached"
    patience: float = field(default=PATIENCE, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    cache: Cache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._open(None)

    def _open(self, site: Site | None) -> None:
        identity = Identity(site.service if site else "", self.node, self.version, described((self.key, self.vary)))
        keys = Keys(identity, picker(self.key), self.vary, self.label)
        counts = Counts(self.label, site)
        near = Memory(self.max_rows, self.max_bytes, self.clock) if self.store is None else None
        cache = Cache(self.node, keys, near, ttl=self.ttl, errors=self.errors, clock=self.clock, counts=counts)
        if self.store is not None:
            cache.far = Far(self.store, cache.steps, counts, self.ttl, self.clock, self.patience)
        object.__setattr__(self, "cache", cache)

    def bind(self, site: Site) -> Cached:
        """Give a copy with entries and counters of its own around the bound node."""
        bound = replace(self, node=site.bind(self.node))
        bound._open(site)
        return bound

    def fingerprint(self) -> str:
        """Say what the node inside says: that its answers are kept changes none of them."""
        return self.node.fingerprint()

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Settle the hits; let rows that are being computed wait, and compute the rest as one part."""
        return self.cache.parts(batch)

    async def __aenter__(self) -> Cached:
        identity = self.cache.keys.identity
        await asyncio.to_thread(identity.now)
        if self.cache.far is not None and identity.private:
            log.warning(
                "%s: what answers cannot be told from what another process has, so its entries are not shared; "
                "give version=, a text of your own that changes when the answers do",
                self.label,
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.cache.far is not None:
            await self.cache.far.close()


def cached(  # noqa: PLR0913  # each is an option of the node
    node: Any,
    ttl: float | None = None,
    store: str | OpenStore | None = None,
    *,
    key: str | Sequence[str] | Callable[[Any], Any] | None = None,
    vary: str | Sequence[str] = (),
    errors: bool = False,
    max_rows: int | None = None,
    max_bytes: int | None = None,
    version: str = "",
    name: str = "cached",
) -> Cached:
    """Answer rows that were answered before from a cache; of equal rows that come at once, compute one.

    The key is the service, the node with the versions of all models in it, and the row. `ttl` is how long an answer is
    good, in seconds. Entries are in this process, the least recently used of more than `max_rows` or `max_bytes` go;
    or in a `store`, shared by all processes: `redis://host/0` (`rediss://`, `unix://`, `?prefix=`), or a function that
    opens a `Store`, where an answer without `ttl` is kept for a day. A store that is away is done without.

    `key` names the fields that count, or is a function of the row (None: this row is not cached); `vary` names header
    fields that count too. `errors=True` keeps errors of the row and of the model as well. `version` is a text of your
    own in place of the code of the functions inside. A request with `cache-control: no-cache` or `no-store` is always
    computed.

    Raises `UsageError` for options that make no sense, `MissingExtra` when Redis' client is not installed.
    """
    opened = store_of(store, name)
    bounds = bounds_of(name, opened, max_rows, max_bytes)
    headers = tuple(each.lower() for each in ([vary] if isinstance(vary, str) else vary))
    return Cached(as_node(node), seconds(name, ttl), opened, fields(name, key), headers, errors, *bounds, version, name)
