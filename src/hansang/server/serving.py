"""What one process serves with: the loaded service, its turns, its record and its state."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hansang.alone import NodeEndpoint, closed_models
from hansang.codec import Codec
from hansang.errors import Overloaded, Problem, TooLarge, Unavailable, UsageError
from hansang.graph import Node, walk
from hansang.jobs.sqlite import SqliteStore
from hansang.jobs.store import JobStore
from hansang.logs.access import AccessLog, level_is_off
from hansang.metrics import Metrics
from hansang.models.managed import Following
from hansang.nodes.rolled import Rolled, rolled
from hansang.nodes.staged import Staged
from hansang.record import Limits, Recorder
from hansang.record.feedback import feedback_recorder
from hansang.record.keep import Keep, set_keep
from hansang.record.payloads import Payloads, Place, set_place
from hansang.record.sinks.address import check
from hansang.record.sinks.wanted import set_wanted
from hansang.record.truths import set_truths
from hansang.server.desk import Desk
from hansang.server.export import exporting
from hansang.server.guard import Guards, guards_of
from hansang.server.keeping import Keeping
from hansang.server.nodes import NodeTurn
from hansang.server.posting import Posting, posting
from hansang.server.quiet import quiet
from hansang.server.recording import Recording
from hansang.server.siblings import Siblings
from hansang.server.traced import TracedNodeTurn, TracedTurn
from hansang.server.turn import Turn
from hansang.server.watching import Watching
from hansang.service import Endpoint, Service
from hansang.settings import Settings, load_settings
from hansang.site import Site
from hansang.tracing import Tracing

log = logging.getLogger("hansang")

METRICS_FOLDER = "HANSANG_METRICS_FOLDER"


class Serving:
    """A service at work in this process.

    `state` goes from `starting` over `ready` to `draining`; `in_flight` counts the rows that have no answer
    yet, and `until` is when the drain gives up on them.
    """

    def __init__(self, service: Service, settings: Settings | None = None) -> None:
        self.service = service
        self.settings = settings or load_settings(Settings)
        self.metrics: Metrics = service.metrics
        self.recorder: Recorder | None = None
        self.guards = Guards()
        self.keeping: Keeping | None = None
        self.tracing: Tracing | None = None
        self.access: AccessLog | None = None
        self.desk: Desk | None = None
        self.state: Literal["starting", "ready", "draining"] = "starting"
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.until = float("inf")
        self._store: JobStore | None = None
        self.later: list[Staged] = []
        self.turns: dict[str, Turn] = {}
        self.fast: dict[bytes, Turn] = {}
        self.following = Following((), self.settings, self.metrics)
        self.stages: dict[str, list[Rolled]] = {}
        self.watching = Watching({}, None, self.settings.registry_poll)
        self.siblings = Siblings(None, self._tapped)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Serving]:
        """Load the models, enter the resources and the record, and take requests until the block ends."""
        folder = os.environ.get(METRICS_FOLDER)
        if folder and self.metrics.folder is None:
            self.metrics = self.service.metrics = Metrics(Path(folder))
            self.siblings = Siblings(Path(folder), self._tapped)
        await asyncio.to_thread(self.service.load, self.settings)
        codecs = {endpoint.path: codec_of(endpoint) for endpoint in self.service.endpoints}
        async with (
            self._logging(),
            self._guarded(),
            self._tracing(),
            self._recording(),
            self.service.running(lambda endpoint: self._site(endpoint, codecs[endpoint.path])),
            self._following(),
        ):
            for endpoint in self.service.endpoints:
                codec = codecs[endpoint.path]
                turn = self.turns[endpoint.path] = self._turn(endpoint, codec)
                if not endpoint.declared and not endpoint.dependencies and not codec.uploads:
                    self.fast[endpoint.path.encode()] = turn
                self.later += [node for node in walk(endpoint.bound) if isinstance(node, Staged) and node.stores]
            self.state = "ready"
            try:
                yield self
            finally:
                await self.drained(self.settings.drain_timeout)
                self.turns.clear()
                self.fast.clear()
                self.later.clear()
                self.stages.clear()

    def _turn(self, endpoint: Endpoint, codec: Codec) -> Turn:
        alone = isinstance(endpoint, NodeEndpoint)
        if self.tracing is None:
            return (NodeTurn if alone else Turn)(self, endpoint, codec)
        return (TracedNodeTurn if alone else TracedTurn)(self, endpoint, codec, self.tracing)

    def _site(self, endpoint: Endpoint, codec: Codec) -> Site:
        """Give what the nodes of an endpoint may know of this process; each endpoint has a recording of its own."""
        record = None
        guard = self.guards.endpoints.get(endpoint.path)
        if self.recorder is not None:
            record = Recording(self.recorder, self.service.name, endpoint.name, codec, guard, self.keeping).beside
        site = replace(
            self.service.site(endpoint),
            record=record,
            encode=codec.encode,
            jobs=self._jobs,
            tracing=self.tracing,
            managed=self._rolled,
        )
        if guard is None:
            return site
        return replace(site, encode=lambda value: guard.written(codec.encode(value)), problem=guard.problem)

    def _rolled(self, model: Any, site: Site) -> Node:
        """Give what stands for a managed model, and remember it for its follower."""
        stands = rolled(model, site)
        if isinstance(stands, Rolled):
            self.stages.setdefault(model.managed, []).append(stands)
        return stands

    def _jobs(self) -> JobStore:
        """Give the store of the service, the same one to all who ask; it is opened when it is entered."""
        if self._store is None:
            self._store = SqliteStore(self.settings.jobs)
        return self._store

    @asynccontextmanager
    async def _logging(self) -> AsyncIterator[None]:
        if not self.settings.access_log or level_is_off():
            yield
            return
        with AccessLog() as self.access:
            yield
        self.access = None

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Resolve the field policies before anything is written; the log keeps to them, too."""
        self.guards = guards_of(self.service, self.settings)
        with quiet(self.guards.quiet):
            yield

    @asynccontextmanager
    async def _tracing(self) -> AsyncIterator[None]:
        if not self.settings.otel:
            yield
            return
        async with exporting(self.service.name, self.service.version, self.metrics) as tracing:
            self.tracing = tracing
            try:
                yield
            finally:
                self.tracing = None

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        """Let the managed models follow the registry, and tell the other workers what this one has."""
        closed = closed_models(self.service)
        self.following = Following(self.service.models, self.settings, self.metrics, closed, self._note, self.stages)
        record = self.settings.records if self.settings.record else None
        self.watching = Watching(self.following.followers, record, self.settings.registry_poll)
        async with self.siblings, self.following, self.watching:
            self._note()
            yield

    def _tapped(self, name: str) -> None:
        self.following.hint(name)

    def _note(self) -> None:
        self.siblings.note(self.following.standings())
        self.watching.look()

    @asynccontextmanager
    async def _recording(self) -> AsyncIterator[None]:
        if not self.settings.record:
            yield
            return
        settings = self.settings
        recorder = Recorder(
            settings.records,
            on_full=settings.record_on_full,
            durability=settings.record_durability,
            limits=Limits(body=settings.record_body_limit, spool=settings.record_spool_limit),
        )
        feedback = feedback_recorder(
            settings.records,
            on_full="stop",  # nothing is acknowledged that is not kept
            durability=settings.record_durability,
            limits=recorder.limits,
        )
        place = place_of(settings)
        self._tell_folder(place)
        async with recorder, feedback, AsyncExitStack() as stack:
            self.recorder = recorder
            if place is not None:
                self.keeping = await stack.enter_async_context(self._keeping())
            if settings.feedback:
                self.desk = Desk(
                    feedback, check=settings.feedback_check, counter=self.metrics.counter, truths=self.guards.truths
                )
            try:
                yield
            finally:
                self.recorder = self.desk = self.keeping = None

    def _tell_folder(self, place: Place | None) -> None:
        """Write into the record's folder what other processes that work on it must know."""
        settings, folder, name = self.settings, self.settings.records, self.service.name
        told: dict[str, Callable[[], None]] = {
            "how long records are kept": lambda: set_keep(
                folder, Keep(settings.record_keep_days, settings.record_keep_bytes)
            ),
            "where payloads go": lambda: set_place(folder, place),
            "the policies of the record": lambda: set_truths(folder, name, self.guards.outputs, self.guards.paths),
            "the sinks of the record": lambda: set_wanted(
                folder, name, settings.record_sinks, settings.record_spool_limit
            ),
        }
        for what, tell in told.items():
            try:
                tell()
            except OSError as error:
                log.error("%s cannot be written: %s", what, error)

    def _keeping(self) -> Keeping:
        settings = self.settings
        text = "Payloads, by what became of them."
        return Keeping(
            Payloads(settings.records, settings.record_durability == "sync", settings.record_spool_limit),
            settings.record_body_limit,
            settings.record_on_full == "stop",
            lambda result: self.metrics.counter("hansang_payloads_total", text, result=result),
        )

    def taker(self, url: bytes) -> Turn | Posting | None:
        """Give what answers a POST to this address in the connection itself; None leaves it to the application."""
        turn = self.fast.get(url)
        if turn is None and self.fast:
            return posting(self, url)
        return turn

    def refusal(self, rows: int) -> Problem | None:
        """Say why rows cannot be taken now; `None` when they can."""
        limit = self.settings.max_rows
        if self.state != "ready":
            return Unavailable(f"the service is {self.state}", retry_after=1.0)
        if self.in_flight + rows <= limit:
            return None
        if rows > limit:
            return TooLarge(f"the request has {rows} rows; the limit is {limit}")
        waiting = max((model.loaded.batcher.backlog() for model in self.service.models), default=0.0)
        return Overloaded(f"{self.in_flight} of at most {limit} rows wait already", retry_after=max(waiting, 1.0))

    def settled(self, rows: int) -> None:
        """Note that rows have their answers."""
        self.in_flight -= rows
        if not self.in_flight and self.state == "draining":
            self.idle.set()

    def measure(self) -> None:
        """Bring the numbers that are not counted on the way up to date; called every second and when they are read."""
        if self.recorder is not None:
            stats = self.recorder.stats()
            counter = self.metrics.counter
            counter("hansang_record_rows", "Rows recorded.").set(stats.rows)
            for reason, rows in stats.lost.items():
                counter("hansang_record_lost_rows", "Rows not recorded, by reason.", reason=reason).set(rows)
        self.metrics.gauge("hansang_rows_in_flight", "Rows without an answer.").set(self.in_flight)

    async def drained(self, seconds: float) -> None:
        """Wait until every accepted row is answered, at most so long after the drain began; then answer 503."""
        if self.state != "draining":
            self.state = "draining"
            self.until = time.monotonic() + seconds
        if not self.in_flight:
            return
        try:
            async with asyncio.timeout(max(self.until - time.monotonic(), 0.0)):
                await self.idle.wait()
        except TimeoutError:
            log.error("%d rows had no answer %.0f s after the drain began", self.in_flight, seconds)
            for turn in self.turns.values():
                await turn.give_up()


def codec_of(endpoint: Endpoint) -> Codec:
    """Make what reads the rows and writes the predictions of an endpoint."""
    return Codec(endpoint.row if not endpoint.declared else dict[str, Any], endpoint.prediction)


def place_of(settings: Settings) -> Place | None:
    """Give where payloads go; None when they are off. Raises `UsageError` for a URL that is none."""
    if settings.payloads == "off":
        return None
    days = settings.payloads_keep_days or settings.record_keep_days
    if settings.payloads == "local":
        return Place("", days, settings.payloads_keep_bytes)
    (address,) = check([settings.payloads])
    if address.scheme.module != "objects":
        raise UsageError(
            f"HANSANG_PAYLOADS={address} is no object store; give off, local or s3://, gs://, az://, file:///"
        )
    return Place(address.url, days, settings.payloads_keep_bytes)


def serving_of(app: Any) -> Serving:
    """Give what the process serves with; `Unavailable` when nobody entered the application's lifespan."""
    serving: Serving | None = getattr(app.state, "serving", None)
    if serving is None:
        raise Unavailable(
            "the service has not been started; an application that mounts it must enter its lifespan: "
            "FastAPI(lifespan=service.lifespan)"
        )
    return serving
