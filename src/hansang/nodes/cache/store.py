"""Where entries are kept outside this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from hansang.errors import UsageError
from hansang.extras import require

SCHEMES = ("redis", "rediss", "unix")
PREFIX = "hansang:"
MOST_CONNECTIONS = 16


class Store(Protocol):
    """Keeps bytes by key, for a time. It may raise anything, and take its time: the cache goes on without it."""

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Give what is kept under each key."""

    async def put(self, values: Sequence[tuple[bytes, bytes]], seconds: float) -> None:
        """Keep values under their keys for so long."""

    async def close(self) -> None:
        """Let go of what it holds."""


OpenStore = Callable[[], Store]


@dataclass(frozen=True, slots=True)
class Redis:
    """A Redis to be opened: its URL, whose password is not shown, and what its keys begin with."""

    url: str
    prefix: str = PREFIX

    def __call__(self) -> Store:
        """Open it; nothing is sent yet."""
        return RedisStore(self.url, self.prefix)

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        user, at, host = parts.netloc.rpartition("@")
        shown = f"{user.partition(':')[0]}:***@{host}" if at else host
        query = urlencode([(name, "***" if name == "password" else text) for name, text in parse_qsl(parts.query)])
        return f"Redis({urlunsplit((parts.scheme, shown, parts.path, query, ''))!r}, prefix={self.prefix!r})"


def redis_at(url: str, name: str) -> Redis:
    """Read a URL; raises `UsageError` for one that is not Redis', `MissingExtra` without the package."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise UsageError(
            f"the store of {name} has the scheme {parts.scheme!r}; expected redis://host/0, rediss://host/0, "
            "unix:///path, or a function that opens a store"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    prefix = dict(options).get("prefix", PREFIX)
    rest = urlencode([(option, text) for option, text in options if option != "prefix"])
    plain = urlunsplit((parts.scheme, parts.netloc, parts.path, rest, ""))
    if not parts.netloc and parts.scheme == "unix":  # urlunsplit leaves out the empty host
        plain = f"unix://{parts.path}" + (f"?{rest}" if rest else "")
    try:
        require("redis.asyncio", "redis", f"the store of {name}").ConnectionPool.from_url(plain)
    except ValueError as error:
        raise UsageError(f"the store of {name} has a URL that Redis' client does not take: {error}") from error
    return Redis(plain, prefix)


class RedisStore:
    """Redis through its own asyncio client: one MGET for a batch of keys, one pipeline of SET PX for its answers.

    Commands are not sent again by the client: whoever waits for an answer has no time for that.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix.encode()
        client: Any = require("redis.asyncio", "redis", "the store of a cache")
        retry = require("redis.asyncio.retry", "redis").Retry(require("redis.backoff", "redis").NoBackoff(), 0)
        pool = client.BlockingConnectionPool.from_url(url, max_connections=MOST_CONNECTIONS, timeout=1.0, retry=retry)
        self._client = client.Redis.from_pool(pool)

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Give what is kept under each key, in one round trip."""
        found: list[bytes | None] = await self._client.mget([self.prefix + key for key in keys])
        return found

    async def put(self, values: Sequence[tuple[bytes, bytes]], seconds: float) -> None:
        """Keep values for so long, in one round trip."""
        milliseconds = max(int(seconds * 1000), 1)
        async with self._client.pipeline(transaction=False) as pipe:
            for key, value in values:
                pipe.set(self.prefix + key, value, px=milliseconds)
            await pipe.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
