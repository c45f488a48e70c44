"""A graph as it runs in a service, without one, and what it records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hansang import Batch, Call
from hansang.graph import Lifetime, Node, inside_out
from hansang.site import Site


@dataclass
class Kept:
    """One row that was recorded beside a live one."""

    id: str
    row: int
    outcome: Any
    seconds: float
    role: str
    call: Call


@dataclass
class Record:
    """Keeps what is recorded beside the live answers, and lets a test wait for it."""

    rows: list[Kept] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, rows: Batch, answers: Batch, seconds: float, role: str = "shadow") -> None:
        for call, outcome in zip(rows.calls, answers.rows, strict=True):
            self.rows.append(Kept(call.id, call.row, outcome, seconds, role, call))
        self.news.set()

    async def has(self, count: int) -> list[Kept]:
        """Wait until so many rows are recorded."""
        while len(self.rows) < count:
            self.news.clear()
            await self.news.wait()
        return self.rows

    @property
    def outcomes(self) -> dict[str, Any]:
        return {kept.id: kept.outcome for kept in self.rows}


@asynccontextmanager
async def running(graph: Node, site: Site) -> AsyncIterator[Any]:
    """Bind a graph and enter what holds something, as a service does."""
    bound = site.graph(graph)
    async with AsyncExitStack() as stack:
        for node in inside_out(bound, set()):
            if isinstance(node, Lifetime):
                await stack.enter_async_context(node)
        yield bound


def batch_of(*rows: Any, first: int = 0, **facts: Any) -> Batch:
    """Make a batch of rows of as many requests, whose ids are numbers."""
    return Batch.of(list(rows), [Call(id=str(first + n), **facts) for n in range(len(rows))])


def counted(site: Site, name: str) -> dict[str, float]:
    """Give what a counter of rows says by result, zeros left out."""
    found: dict[str, float] = {}
    for family in site.metrics.collect():
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[sample.labels["result"]] = found.get(sample.labels["result"], 0.0) + sample.value
    return found
