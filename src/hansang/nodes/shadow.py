"""Shadow: a candidate answers beside the live node, for the record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hansang.batch import Batch
from hansang.dispatch import Dispatcher, Part
from hansang.errors import UsageError
from hansang.graph import Node, as_node, rebuilt
from hansang.nodes.assign.assignment import Assignment
from hansang.nodes.assign.keys import keys_of, stand_ins
from hansang.nodes.behind import DROPPED, ERROR, LATE, OK, Behind, check_limits
from hansang.nodes.rules.fields import refuse_unknown
from hansang.nodes.rules.source import Source, source
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Shadow(Dispatcher):
    """The live node answers; a share of the rows goes to the candidate too, whose answers are only recorded.

    The candidate cannot slow, fail or block a live answer: it gets shallow copies of the rows, behind a queue of its
    own, as background work that models serve when no live row waits; its sync functions run on threads. What it does
    is counted, its answers stand in the record as role `shadow` under the ids of the live ones. Rows over `max_rows`
    are dropped, and a run that takes longer than `timeout` seconds is given up. Rows without an id (the readiness
    check, offline scoring) have no shadow.
    """

    live: Node
    candidate: Node
    share: float = 1.0
    by: str | Callable[[Any], Any] | None = None
    max_rows: int = 1024
    timeout: float = 10.0
    name: str = "shadow"
    _work: list[Behind] = field(default_factory=list, init=False, repr=False)
    _source: Source | None = field(init=False, repr=False)
    _assignment: Assignment = field(init=False, repr=False)
    aside: ClassVar[tuple[str, ...]] = ("candidate",)

    def __post_init__(self) -> None:
        found = None if self.by is None else source(self.by, f"shadow {self.name!r}")
        object.__setattr__(self, "_source", found)
        shares = {"shadowed": self.share, "not shadowed": 1.0 - self.share}
        object.__setattr__(self, "_assignment", Assignment(self.name, shares))

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Give the rows to the live node, and copies of some to the queue."""
        if self._work and batch.has_calls:
            self._work[0].offer(batch, self.chosen)
        return (Part(batch, self.live),)

    def chosen(self, batch: Batch) -> Sequence[int]:
        """Give the places of the rows that have a shadow."""
        named = [place for place, call in enumerate(batch.calls) if call.id]
        if self.share >= 1.0 or not named:
            return named
        rows = batch if len(named) == batch.size else batch.take(named)
        keys, _ = keys_of(self._source, rows)
        sides = self._assignment.sides(stand_ins(keys, rows))
        return [place for place, side in zip(named, sides, strict=True) if side == 0]

    def check(self, schema: Any) -> None:
        """Refuse a field that rows of this schema cannot have."""
        if self._source is not None:
            refuse_unknown([self._source], schema, f"shadow {self.name!r}")

    def bind(self, site: Site) -> Node:
        """Give this node as it runs in a service, with the candidate in the background."""
        behind = site.in_background(self.name)
        bound = rebuilt(self, site.bind, candidate=behind.bind(self.candidate))
        assert isinstance(bound, Shadow)  # its fields are changed, not its class

        def settled(rows: Batch, answers: Batch, seconds: float) -> None:
            if site.record is not None:
                site.record(rows, answers, seconds)

        text = "Rows that a candidate got beside the live answers, by what became of them."
        counts = {
            result: site.counter("hansang_shadow_rows_total", text, node=self.name, result=result)
            for result in (OK, ERROR, DROPPED, LATE)
        }
        work = Behind(bound.candidate, self.name, self.max_rows, self.timeout, settled, counts=counts)
        bound._work.append(work)
        return bound

    async def __aenter__(self) -> Shadow:
        for work in self._work:
            await work.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for work in self._work:
            await work.__aexit__(*exc)


def shadow(
    live: Any,
    candidate: Any,
    share: float = 1.0,
    by: str | Callable[[Any], Any] | None = None,
    *,
    max_rows: int = 1024,
    timeout: float = 10.0,
    name: str = "shadow",
) -> Shadow:
    """Let a candidate answer beside the live node, for the record alone; see `Shadow`.

    `share` is the part of the rows that it gets, from 0 to 1. With `by`, rows of one key are shadowed all or not at
    all: a field, `"header:x-user"`, `"key"` (the call's), or a function of the row, as in `split`; rows without one go
    by the prediction's id. `max_rows` is the most rows that wait, `timeout` the most seconds of a run.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"{name}: share is {share}; give a part of the rows, from 0 to 1")
    check_limits(name, max_rows, timeout)
    return Shadow(as_node(live), as_node(candidate), share, by, max_rows, timeout, name)
