"""The far side of a remote node, in one process: its connections, its breaker, and what was counted."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from hansang.batch import Batch
from hansang.errors import CallerLeft, DeadlineExceeded, Problem, Unavailable, UsageError
from hansang.isolate import HOPELESS
from hansang.metrics import Counter
from hansang.nodes.breaker import Breaker, Circuit
from hansang.peers.client import Client
from hansang.peers.http import Address
from hansang.peers.inference import InferencePeer
from hansang.peers.messages import left
from hansang.peers.node import NodePeer
from hansang.peers.peer import Cut, Peer
from hansang.peers.service import ServicePeer
from hansang.site import Site
from hansang.tracing import handed_on

log = logging.getLogger("hansang")

KINDS: Mapping[str, type[NodePeer | ServicePeer | InferencePeer]] = {
    "service": ServicePeer,
    "node": NodePeer,
    "inference": InferencePeer,
}
PATHS = ((re.compile(r"/nodes/[^/]+"), "node"), (re.compile(r"(/.*)?/v2/models/[^/]+(/versions/[^/]+)?"), "inference"))
ANSWERED, UNAVAILABLE, TIMEOUT, RESTING, LEFT = "answered", "unavailable", "timeout", "resting", "left"
OUTCOMES = (ANSWERED, UNAVAILABLE, TIMEOUT, RESTING, LEFT)
PATIENCE = 1.0


@dataclass(slots=True)
class Search:
    """The search for the rows because of which others are not answered; given up when all fail alone."""

    alone: int = 0
    good: bool = False

    @property
    def hopeless(self) -> bool:
        """Whether it is not the rows."""
        return not self.good and self.alone >= HOPELESS


class Far:
    """Asks the far side about batches; every row gets an outcome, whatever happens there or on the way.

    Rows that nobody waits for are not sent, nor any while the breaker rests. The breaker counts rows whose request had
    no answer; one that the far side answered with a problem says that it lives. `most` is the largest batch that it
    takes, learned when it refuses one.
    """

    def __init__(
        self,
        peer: Peer,
        client: Client,
        *,
        fields: Mapping[str, str],
        breaker: Breaker | None,
        most: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.peer, self.client, self.fields, self.most = peer, client, fields, most
        self.label = client.label
        self.clock = clock
        self.circuit = Circuit(breaker, clock) if breaker is not None else None
        self.seen = False
        self.versions: tuple[str, ...] = ()
        self.learned = False
        self.trace: Callable[[Batch], dict[str, str]] = handed_on
        self._told = float("-inf")
        self._rows: dict[str, Counter] = {}

    def bind(self, site: Site) -> None:
        """Take the counters of an endpoint."""
        self.trace = site.trace_headers
        text, node = "Rows for a node in another process.", self.label
        self._rows = {
            outcome: site.counter("hansang_remote_rows_total", text, node=node, outcome=outcome) for outcome in OUTCOMES
        }
        self.client.retried = site.counter("hansang_remote_retries_total", "Requests sent again.", node=node).add

    # --- a batch ---

    async def predict(self, batch: Batch) -> Batch:
        """Give one outcome a row."""
        lost = self._unneeded(batch)
        places = [place for place in range(batch.size) if place not in lost] if lost else range(batch.size)
        admitted = self.circuit.admit(len(places)) if self.circuit is not None else len(places)
        turn = self.circuit.turn if self.circuit is not None else 0
        if admitted < len(places):
            self._count(RESTING, len(places) - admitted)
            resting = Unavailable(f"{self.label} is not available", retry_after=1.0)
            lost.update(dict.fromkeys(places[admitted:], resting))
            places = places[:admitted]
        if not lost:
            return await self._parts(batch, turn, Search())
        answers = batch.replace([lost.get(place) for place in range(batch.size)])
        return answers.fill(places, await self._parts(batch.take(places), turn, Search())) if places else answers

    def _unneeded(self, batch: Batch) -> dict[int, Problem]:
        """Find the rows that nobody waits for any more."""
        lost: dict[int, Problem] = {}
        if batch.has_calls:
            now = self.clock()
            for place, call in enumerate(batch.calls):
                if call.gone:
                    lost[place] = CallerLeft("the caller left before the row was sent")
                elif call.deadline is not None and call.deadline <= now:
                    lost[place] = DeadlineExceeded("the deadline has passed")
        self._count(LEFT, len(lost))
        return lost

    async def _parts(self, batch: Batch, turn: int, search: Search) -> Batch:
        """Ask for the rows at once, or in parts as large as the far side takes."""
        most = self.most
        if most is None or batch.size <= most:
            return await self._ask(batch, turn, search)
        parts = [batch.slice(start, start + most) for start in range(0, batch.size, most)]
        if not batch.has_calls:
            for part in parts[1:]:
                part.steps = list(batch.steps)  # what happened to the rows of one batch is written once
        if self.learned:  # its limit is on all rows that it has at once
            return Batch.concat([await self._ask(part, turn, search) for part in parts])
        return Batch.concat(await asyncio.gather(*[self._ask(part, turn, search) for part in parts]))

    async def _ask(self, batch: Batch, turn: int, search: Search) -> Batch:
        answered = False
        try:
            await self.peer.begin(self.client)
            now, until = self.clock(), deadline_of(batch)
            question = self.peer.question(batch, now, None if until is None else left(until - now))
            fields = {**question.fields, **self.trace(batch), **self.fields}
            answer = await self.client.ask("POST", question.path, fields, question.body, until)
            answered = True
            before = [len(call.trail) for call in batch.calls] if batch.has_calls else [len(batch.steps)]
            answers = self.peer.answers(batch, answer)
            self.versions = versions_since(before, batch)
        except Cut as cut:
            return await self._halves(batch, turn, search, cut)
        except Problem as error:
            self._note(batch.size, turn, error if not answered else None)
            return batch.fail(error)
        except BaseException:
            if self.circuit is not None:
                self.circuit.note(0, 0, batch.size, turn=turn)
            raise
        self.seen = True
        self._note(batch.size, turn, None)
        search.good = search.good or answers.failed < answers.size
        return answers

    async def _halves(self, batch: Batch, turn: int, search: Search, cut: Cut) -> Batch:
        if batch.size == 1 or search.hopeless:
            search.alone += 1
            self._note(batch.size, turn, None)
            return batch.fail(cut.outcome)
        middle = (batch.size + 1) // 2
        if cut.learn:
            self.most, self.learned = min(middle, self.most or middle), True
        parts = [
            await self._parts(part, turn, search) for part in (batch.slice(0, middle), batch.slice(middle, batch.size))
        ]
        return Batch.concat(parts)

    # --- what came of it ---

    def _note(self, rows: int, turn: int, error: Problem | None) -> None:
        """Count rows that were sent; `error` is why they have no answer."""
        if self.circuit is not None:
            self.circuit.note(0 if error else rows, rows if error else 0, turn=turn)
        if error is None:
            self._count(ANSWERED, rows)
            return
        self._count(TIMEOUT if isinstance(error, DeadlineExceeded) else UNAVAILABLE, rows)
        now = self.clock()
        if now - self._told >= 1.0:
            self._told = now
            log.warning("%s at %s: %s", self.label, self.client.pool.address.authority, error.__cause__ or error)

    def _count(self, outcome: str, rows: int) -> None:
        if rows and self._rows:
            self._rows[outcome].add(rows)

    async def check(self) -> str:
        """Say whether the far side answers now; once it has, its absence is told and is no fault of this process."""
        try:
            until = asyncio.get_running_loop().time() + PATIENCE
            answer = await self.client.ask("GET", self.peer.health, self.fields, until=until)
        except Problem as error:
            return f"ok, but {error}" if self.seen else str(error.__cause__ or error)
        if answer.status == Unavailable.status:
            return f"ok, but {self.label} is not ready" if self.seen else "it is not ready"
        self.seen = True
        return "ok"


def deadline_of(batch: Batch) -> float | None:
    """Give the time after which no row of a batch is of use; `None` where a row has no deadline."""
    if not batch.has_calls:
        return None
    deadlines = [call.deadline for call in batch.calls]
    return max([time for time in deadlines if time is not None]) if None not in deadlines and deadlines else None


def kind_of(address: Address, kind: str | None) -> str:
    """Say which protocol the far side speaks: the given one, or what the path of its URL says."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"protocol={kind!r} is not one of {', '.join(KINDS)}")
    if kind is None and address.path == "/":
        raise UsageError(
            f"the URL of {address.authority} has no path; give the route of a service (/predict), of a node "
            "(/nodes/NAME), or of a model (/v2/models/NAME)"
        )
    return kind or next((kind for path, kind in PATHS if path.fullmatch(address.path)), "service")


def name_of(address: Address, kind: str) -> str:
    """Name a node by its URL: the node's or the model's name, or where the service listens."""
    parts = address.path.strip("/").split("/")
    if kind == "service" or "" in parts:
        return address.authority
    return unquote(parts[parts.index("models") + 1] if "models" in parts[:-1] else parts[-1])


def versions_since(before: list[int], batch: Batch) -> tuple[str, ...]:
    """Give what the far side answered with: models and versions of the steps that it added, each once."""
    trails = [call.trail for call in batch.calls] if batch.has_calls else [batch.steps]
    added = {
        f"{step.model} {step.version}"
        for trail, start in zip(trails, before, strict=True)
        for step in trail[start:]
        if step.version
    }
    return tuple(sorted(added))
