"""A node in another process: a service, a node of the same file, or a model behind the Open Inference Protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hansang.batch import Batch
from hansang.errors import Problem, UsageError
from hansang.graph import Node
from hansang.nodes.breaker import Breaker
from hansang.nodes.far import KINDS, Far, kind_of, name_of
from hansang.peers.client import Client
from hansang.peers.http import Address, Pool
from hansang.peers.peer import Peer
from hansang.site import Site

log = logging.getLogger("hansang")

DEFAULT = Breaker(error_rate=0.5, min_rows=5, window=10.0, open_for=1.0, probes=1)


@dataclass(frozen=True, slots=True, eq=False)
class Remote(Node):
    """Ask another process; see `remote`. The connections and the state of the breaker are each bound copy's own."""

    url: str
    timeout: float = 30.0
    retries: int = 1
    breaker: Breaker | None = DEFAULT
    max_connections: int = 64
    max_rows: int | None = None
    idempotent: bool = False
    protocol: str | None = None
    name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    far: Far = field(init=False, repr=False)
    changing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        address = Address.of(self.url)
        kind = kind_of(address, self.protocol)
        if not self.name:
            object.__setattr__(self, "name", name_of(address, kind))
        client = Client(Pool(address, self.max_connections), self.name, self.timeout, self.retries, self.idempotent)
        peer: Peer = KINDS[kind](address.path, self.name)
        options: dict[str, Any] = {"breaker": self.breaker, "most": self.max_rows, "clock": self.clock}
        object.__setattr__(self, "far", Far(peer, client, fields=self.headers, **options))

    def bind(self, site: Site) -> Remote:
        """Give a copy with connections, a breaker and counters of its own."""
        at_work = replace(self)
        at_work.far.bind(site)
        return at_work

    async def __aenter__(self) -> Remote:
        await self.far.client.pool.__aenter__()
        try:
            await self.far.peer.begin(self.far.client)
        except Problem as error:  # it may start later than this process; the first batch asks again
            log.warning("%s at %s: %s", self.name, self.url, error.__cause__ or error)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.far.client.pool.__aexit__(*exc)

    def fingerprint(self) -> str:
        """Say where it asks, and what answered the last batch there."""
        return f"{self.url} {self.protocol} {dict(self.headers)} {self.far.versions}"

    async def __call__(self, batch: Batch) -> Batch:
        """Predict a batch there."""
        return await self.far.predict(batch)


def remote(  # noqa: PLR0913  # each is an option of the node
    url: str,
    *,
    timeout: float = 30.0,
    retries: int = 1,
    breaker: Breaker | None = DEFAULT,
    max_connections: int = 64,
    max_rows: int | None = None,
    idempotent: bool = False,
    headers: Mapping[str, str] | None = None,
    protocol: str | None = None,
    name: str = "",
) -> Remote:
    """Ask a node in another process: the rows of a batch go there together, in one request.

    The URL says what is there: `http://host:port/predict` a Hansang service, `/nodes/NAME` a node that `hansang serve
    --node` serves, `/v2/models/NAME[/versions/V]` a model of any server of the Open Inference Protocol; `protocol`
    (`service`, `node`, `inference`) where it does not. A row's deadline goes along; `timeout`, in seconds, is the
    longest wait for one request. A request is sent again, at most `retries` times, only when it cannot have been worked
    on, or when it is `idempotent`. Rows of a far side that does not answer fail with 503 at once while the `breaker`
    rests, and it is tried again by itself. `max_rows` cuts larger batches.

    Raises `UsageError` for a URL or an option that makes no sense.
    """
    for option, value in (("timeout", timeout), ("max_connections", max_connections), ("max_rows", max_rows)):
        if value is not None and not value > 0:
            raise UsageError(f"{option} of the remote node at {url} must be above 0, got {value!r}")
    if retries < 0:
        raise UsageError(f"retries of the remote node at {url} must be 0 or more, got {retries!r}")
    if breaker is not None and not isinstance(breaker, Breaker):
        raise UsageError(f"the breaker of the remote node at {url} is a Breaker or None, got {breaker!r}")
    for field_name, text in (headers or {}).items():
        if not (field_name.isascii() and text.isprintable() and field_name.replace("-", "").isalnum()):
            raise UsageError(f"the header {field_name!r} of the remote node at {url} is not a header field")
    lower = {field_name.lower(): text for field_name, text in (headers or {}).items()}
    return Remote(
        url, timeout, retries, breaker, max_connections, max_rows, idempotent, protocol, name=name, headers=lower
    )
