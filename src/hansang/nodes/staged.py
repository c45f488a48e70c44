"""Staged: a quick answer now, a better one later under the prediction's id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hansang.batch import Batch
from hansang.call import Step
from hansang.dispatch import Dispatcher, Part
from hansang.errors import UsageError
from hansang.graph import Node, as_node, rebuilt
from hansang.jobs.store import JobStore, MemoryStore
from hansang.nodes.behind import DROPPED, ERROR, LATE, OK, Behind, check_limits
from hansang.nodes.later import Later
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Staged(Dispatcher):
    """The quick node answers now; the slow one's answer is found later at `/jobs/{id}`.

    The slow node works behind the answers like a shadow's candidate: on shallow copies of the rows, in the background,
    at most `max_rows` of them at a time. A row that it takes has the header `location` in its quick answer; one that
    found the queue full has not, and is counted. A run of the slow node that takes longer than `timeout` seconds
    fails its rows. Results are kept for `ttl` seconds in `store`, by default the service's (`HANSANG_JOBS`), and
    recorded as role `staged`. It stands last in a graph: what follows it sees the quick answers only. Rows without an
    id (the readiness check, offline scoring) have the quick answer alone.
    """

    quick: Node
    slow: Node
    store: JobStore | None = None
    ttl: float = 3600.0
    max_rows: int = 1024
    timeout: float = 60.0
    name: str = "staged"
    _work: list[tuple[Behind, Later]] = field(default_factory=list, init=False, repr=False)
    aside: ClassVar[tuple[str, ...]] = ("slow",)

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Give the rows to the quick node, and copies of them to the queue."""
        if self._work and batch.has_calls:
            work, later = self._work[0]
            later.queued(batch, work.offer(batch, named))
        return (Part(batch, self.quick),)

    @property
    def stores(self) -> list[JobStore]:
        """Where the results are, once it is bound."""
        return [later.ledger.store for _, later in self._work]

    def bind(self, site: Site) -> Node:
        """Give this node as it runs in a service, with the slow one in the background."""
        bound = rebuilt(self, site.bind, slow=site.in_background(self.name).bind(self.slow))
        assert isinstance(bound, Staged)  # its fields are changed, not its class
        store = self.store
        if store is None:
            store = site.jobs() if site.jobs is not None else MemoryStore()
        text = "Rows that a slow node got behind the quick answers, by what became of them."
        counts = {
            result: site.counter("hansang_staged_rows_total", text, node=self.name, result=result)
            for result in (OK, ERROR, DROPPED, LATE)
        }
        later = Later(store, self.ttl, site, Step(self.name, job=True))
        work = Behind(bound.slow, self.name, self.max_rows, self.timeout, later.settled, counts=counts)
        work.begun, work.dropped, work.saved = later.begun, later.dropped, later.ledger.saved
        if not site.background:  # whoever waits for nothing has a use for the quick answer only
            bound._work.append((work, later))
        return bound

    async def __aenter__(self) -> Staged:
        for work, later in self._work:
            await later.ledger.__aenter__()
            await work.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for work, later in self._work:
            await work.__aexit__(*exc)
            await later.ledger.__aexit__(*exc)


def named(batch: Batch) -> Sequence[int]:
    """Give the places of the rows that somebody can ask for later."""
    return [place for place, call in enumerate(batch.calls) if call.id]


def staged(
    quick: Any,
    slow: Any,
    store: JobStore | None = None,
    ttl: float = 3600.0,
    *,
    max_rows: int = 1024,
    timeout: float = 60.0,
    name: str = "staged",
) -> Staged:
    """Answer with the quick node now, and with the slow one later at `/jobs/{id}`; see `Staged`.

    `ttl` is how many seconds a result is kept, `max_rows` the most rows that wait for the slow node, `timeout` the
    most seconds of one of its runs.
    """
    if not ttl > 0.0:
        raise UsageError(f"{name}: ttl is {ttl}; give seconds above 0")
    check_limits(name, max_rows, timeout)
    return Staged(as_node(quick), as_node(slow), store, ttl, max_rows, timeout, name)
