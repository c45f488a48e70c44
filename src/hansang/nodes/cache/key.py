"""The key of a row: what answers it, and what it is."""

from __future__ import annotations

import logging
import marshal
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from hansang import __version__
from hansang.batch import Batch, getter
from hansang.fingerprint import PRIVATE
from hansang.graph import Node, walk
from hansang.nodes.cache.encode import FORMAT, Encoder, Unkeyed, plain

IDENTITY = 16
LONGEST = IDENTITY + 256
MOST_WARNINGS = 100

log = logging.getLogger("hansang")


class Identity:
    """What answers: the service, the graph, and the versions of all models in it, read anew for every batch.

    The graph is described again when one of its nodes says something else: a model that was swapped, a remote node
    that answered with another version. A `version` of the user's own stands for everything else in the graph.
    `chosen` says what of a row counts; `private` that a key means nothing to another process.
    """

    def __init__(self, service: str, node: Node, version: str, chosen: str) -> None:
        self.service, self.node, self.version, self.chosen = service, node, version, chosen
        self._changing = [each for each in walk(node, aside=False) if each.changing]
        self._said: list[str] | None = None
        self._now = b""
        self.private = False

    @property
    def moves(self) -> int:
        """Count the switches of models inside: a version that went and came back is not one that stayed."""
        return sum([each.moves for each in self._changing])

    def now(self) -> bytes:
        """Give 16 bytes that are the same as long as the same would answer."""
        said = [each.fingerprint() for each in self._changing]
        if said != self._said:
            graph = repr(said) if self.version else self.node.fingerprint()
            text = repr((__version__, self.service, self.version, self.chosen, graph))
            self.private = PRIVATE in text
            self._said, self._now = said, blake2b(text.encode(), digest_size=IDENTITY).digest()
        return self._now


class Keys:
    """Makes the keys of rows: the identity of what answers, and the row's bytes, or their hash where they are many.

    `pick` chooses what of a row counts; `vary` names header fields of the request that count, too.
    """

    def __init__(self, identity: Identity, pick: Callable[[Any], Any] | None, vary: Sequence[str], label: str) -> None:
        self.identity = identity
        self.label = label
        self._pick = pick
        self._vary = tuple(vary)
        self._encode = Encoder()
        self._told: set[tuple[type, type]] = set()

    def of(self, batch: Batch, identity: bytes) -> list[bytes | None]:
        """Give each row's key; None for a row that cannot be told from another."""
        rows = batch.rows
        if not rows:
            return []
        try:
            if self._pick is not None:
                rows = list(map(self._pick, rows))
                if any(row is None for row in rows):
                    raise Unkeyed("the key of a row is None")
            keys = self._encode.all(rows, identity)
        except Exception:
            return [self._one(row, call, identity) for row, call in zip(batch.rows, calls_of(batch), strict=True)]
        if self._vary:
            keys = [key + self._headers(call) for key, call in zip(keys, calls_of(batch), strict=True)]
        if max(map(len, keys)) > LONGEST:
            return [short(key) for key in keys]
        return keys  # type: ignore[return-value]  # every row has one

    def _one(self, row: Any, call: Any, identity: bytes) -> bytes | None:
        try:
            picked = self._pick(row) if self._pick is not None else row
            if picked is None and row is not None:
                return None
            key = identity + self._encode.one(picked)
        except Exception as error:
            self._tell(row, error)
            return None
        if self._vary:
            key += self._headers(call)
        return short(key)

    def _tell(self, row: Any, error: Exception) -> None:
        """Warn of rows without a key, once for each kind."""
        kind = type(row), type(error)
        if kind not in self._told and len(self._told) < MOST_WARNINGS:
            self._told.add(kind)
            log.warning(
                "%s: rows like this %s have no key and are not cached: %s: %s; give key=, the fields that count",
                self.label,
                type(row).__name__,
                type(error).__name__,
                error,
            )

    def _headers(self, call: Any) -> bytes:
        headers = call.headers if call is not None else {}
        return marshal.dumps([plain(headers.get(name)) for name in self._vary], FORMAT)


def with_identity(key: bytes | None, identity: bytes) -> bytes | None:
    """Give the key of the same row, for what would answer it now."""
    return key if key is None else identity + key[IDENTITY:]


def short(key: bytes) -> bytes:
    """Give a key, with the hash of a row's bytes where they are many; no row's own bytes begin like this."""
    if len(key) <= LONGEST:
        return key
    return key[:IDENTITY] + b"#" + blake2b(key[IDENTITY:], digest_size=32).digest()


def calls_of(batch: Batch) -> Sequence[Any]:
    """Give the calls of a batch, or none a row where nobody waits for its rows."""
    return batch.calls if batch.has_calls else [None] * batch.size


def picker(key: Any) -> Callable[[Any], Any] | None:
    """Give what chooses the part of a row that counts: a function, or the values of fields by their names."""
    if key is None or callable(key):
        return key  # type: ignore[no-any-return]  # what a user's function gives is the user's
    names = (key,) if isinstance(key, str) else tuple(key)

    def pick(row: Any) -> list[Any]:
        values = getter(row)(*names)(row)
        return [values] if len(names) == 1 else list(values)

    return pick
