"""All rows that arrived in one turn of the event loop: one Batch, one graph call, one record write, the answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from hansang.batch import Batch
from hansang.call import TRACEPARENT, Call
from hansang.codec import Codec, count_nonfinite
from hansang.dispatch import Places, flow, in_order, spreads, without_failed
from hansang.errors import (
    BadRequest,
    DeadlineExceeded,
    InvalidRow,
    ModelFailed,
    Problem,
    RecordError,
    Unavailable,
    problem,
    status_of,
)
from hansang.graph import settle
from hansang.logs.whose import around
from hansang.metrics import Counter
from hansang.server.ask import JSON, NO_MARKS, PROBLEM, Ask, marks_of
from hansang.server.ids import new_ids
from hansang.server.keeping import Kept
from hansang.server.recording import Recording
from hansang.service import Endpoint

if TYPE_CHECKING:
    from hansang.server.serving import Serving

LENIENT = "handling=lenient"  # RFC 7240: the caller wants an outcome for each row, even when all of them failed

log = logging.getLogger("hansang")


class Turn:
    """Collects the asks of one endpoint until the loop comes round, and sends them through the graph together.

    `media` is the only type of body that it takes; JSON when it is empty.
    """

    media = ""

    steady = True  # its address comes again, so the headers of its requests are worth remembering

    def __init__(self, serving: Serving, endpoint: Endpoint, codec: Codec) -> None:
        self.serving = serving
        self.endpoint = endpoint
        self.graph = endpoint.bound
        self.codec = codec
        self.asks: list[Ask] = []
        self.ready: list[Ask] = []
        self.outcomes: list[Any] = []
        self.failed = 0
        self.spreads = spreads(self.graph)
        self.tasks: set[asyncio.Task[Any] | None] = set()
        self.loop = asyncio.get_running_loop()
        recorder, service = serving.recorder, serving.service.name
        guard = serving.guards.endpoints.get(endpoint.path)
        self.keeping = serving.keeping
        self.recording = (
            Recording(recorder, service, endpoint.name, codec, guard, serving.keeping) if recorder is not None else None
        )
        metrics, labels = serving.metrics, {"endpoint": endpoint.name}
        self._seconds = metrics.histogram("hansang_request_seconds", "Time from body to answer.", **labels)
        self._rows: dict[int, Counter] = {}
        self._nonfinite = metrics.counter("hansang_nonfinite_total", "Numbers written as null.", **labels)
        self._ok = self._counter(200)
        self._traced = 0.0

    # --- in ---

    def add(self, ask: Ask) -> None:
        """Take a request; its answer comes by `ask.deliver`, always."""
        self.serving.in_flight += len(ask.rows)
        asks = self.asks
        asks.append(ask)
        deadline = ask.calls[0].deadline
        if deadline is not None:
            ask.timer = self.loop.call_at(deadline, self._expire, ask)
        if len(asks) == 1:
            self.tasks.add(self.loop.create_task(self._run()))

    def reject(self, ask: Ask, error: Problem) -> None:
        """Answer a request whose rows cannot enter the graph; a row that does not fit its schema is recorded."""
        if isinstance(error, InvalidRow):
            identify([ask])
            self._finish([ask], [error], 1)
            return
        ask.answered = True
        self._counter(error.status).add()
        identify([ask])
        document = problem(error, ask.calls[0].request_id or ask.id)
        ask.deliver(error.status, PROBLEM, to_json(document), NO_MARKS, error)

    async def _run(self) -> None:
        asks, self.asks = self.asks, []
        rows: list[Any] = []
        calls: list[Call] = []
        failed = 0
        identify(asks)
        around.set(calls)
        for ask in asks:
            rows += ask.rows
            calls += ask.calls
            if ask.many:
                failed += sum(isinstance(row, Exception) for row in ask.rows)
        try:
            if self.spreads:
                await self._flow(asks, Batch(rows, calls, failed))
            else:
                answers = await settle(self.graph, Batch(rows, calls, failed))
                self._finish(asks, answers.rows, answers.failed)
        except asyncio.CancelledError:
            self._finish(asks, [Unavailable("the service ended before the answer", retry_after=1.0)] * len(rows), 1)
            raise
        except BaseException as error:
            self._bug(asks, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.serving.settled(len(rows))
            self.tasks.discard(asyncio.current_task())

    async def _flow(self, asks: list[Ask], batch: Batch) -> None:
        """Run the graph and answer every request as soon as its own rows are settled.

        What is settled in one turn of the loop is recorded and answered together.
        """
        many = True in [ask.many for ask in asks]
        owners = asks if not many else [ask for ask in asks for _ in ask.rows]

        def send(at: Places, answers: Batch) -> None:
            ready = self.ready
            if not ready:
                self.loop.call_soon(self._flush)
            if not many:
                ready += owners if in_order(at, len(owners)) else [owners[place] for place in at]
                self.outcomes += answers.rows
                self.failed += answers.failed
                return
            for place, outcome in zip(at, answers.rows, strict=True):
                ask = owners[place]
                settled = ask.take(batch.calls[place].row, outcome) if ask.many else [outcome]
                if settled:
                    ready.append(ask)
                    self.outcomes += settled
                    self.failed += sum(isinstance(each, Exception) for each in settled)

        try:
            good, at = without_failed(batch, range(batch.size), send)
            await flow(self.graph, good, at, send)
        finally:
            self._flush()

    def _flush(self) -> None:
        """Answer the requests whose rows are all settled."""
        asks, outcomes, failed = self.ready, self.outcomes, self.failed
        if not asks:
            return
        self.ready, self.outcomes, self.failed = [], [], 0
        try:
            self._finish(asks, outcomes, failed)
        except Exception as error:
            self._bug(asks, error)

    async def give_up(self) -> None:
        """Answer 503 to whoever still waits: the time to drain is over."""
        tasks = [task for task in self.tasks if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _expire(self, ask: Ask) -> None:
        """Answer 504 at the deadline; the model may still run, for nobody."""
        if not ask.answered:
            ask.leave()
            identify([ask])  # it may not have entered the graph yet
            self._finish([ask], [DeadlineExceeded("the deadline has passed")] * len(ask.rows), len(ask.rows))

    def _bug(self, asks: list[Ask], error: BaseException) -> None:
        """Answer 500 to whoever has no answer yet; every accepted request is answered."""
        log.error("this is a bug of hansang: a turn failed", exc_info=error)
        for ask in asks:
            if not ask.answered:
                ask.answered = True
                failure = ModelFailed("the server failed")
                ask.deliver(500, PROBLEM, to_json(problem(failure, ask.id)), NO_MARKS, failure)

    # --- out ---

    def _finish(self, asks: list[Ask], outcomes: list[Any], failed: int) -> None:
        """Encode, record and answer the asks; `outcomes` are theirs in order."""
        if True in [ask.answered for ask in asks]:
            asks, outcomes = unanswered(asks, outcomes)
            failed = sum(isinstance(outcome, Exception) for outcome in outcomes)
        if not asks:
            return
        bodies, errors = self._encode(outcomes, failed)
        if self.keeping is None or not self.keeping.take(self, asks, bodies, errors):
            self.settle(asks, bodies, errors)

    def settle(
        self, asks: list[Ask], bodies: list[bytes], errors: dict[int, Exception], kept: Kept | None = None
    ) -> None:
        """Record and answer the asks; `kept` is what the record holds of rows whose payloads are written."""
        now = time.monotonic()
        latencies = [now - ask.started for ask in asks]
        try:
            if self.recording is not None:
                self.recording.write(asks, bodies, errors, latencies, kept)
        except RecordError as error:
            unavailable = Unavailable("the prediction record cannot be written", retry_after=5.0)
            log.error("no answer leaves without a record: %s", error)
            errors = dict.fromkeys(range(len(bodies)), unavailable)
        self._count(asks, len(bodies), errors, latencies)
        if errors or len(bodies) != len(asks):
            self._answer(asks, bodies, errors)
            return
        trail, marks = asks[0].calls[0].trail, marks_of(asks[0].calls[0].trail)
        for ask, body in zip(asks, bodies, strict=True):
            ask.answered = True
            if ask.timer is not None:
                ask.timer.cancel()
            if ask.calls[0].trail != trail:  # rows that were answered together stand together
                trail = ask.calls[0].trail
                marks = marks_of(trail)
            ask.deliver(200, JSON, body if not ask.many else b"[" + body + b"]", marks, None)

    def _encode(self, outcomes: list[Any], failed: int) -> tuple[list[bytes], dict[int, Exception]]:
        """Write the predictions as JSON; gives the bodies and, by position, the rows that failed."""
        encode = self.codec.encode
        errors: dict[int, Exception] = {}
        if not failed:
            try:
                bodies = [encode(outcome) for outcome in outcomes]
            except Exception:  # whatever a prediction is made of, it does not touch its batch mates
                failed = 1
        if failed:
            bodies = []
            for position, outcome in enumerate(outcomes):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    bodies.append(encode(outcome))
                except Exception as error:
                    errors[position] = error
                    bodies.append(b"")
        for body, outcome in zip(bodies, outcomes, strict=True):
            if b"null" in body and (bad := count_nonfinite(outcome)):
                self._nonfinite.add(bad)
        return bodies, errors

    def _count(self, asks: list[Ask], rows: int, errors: dict[int, Exception], latencies: list[float]) -> None:
        self._seconds.observe_all(latencies)
        self._ok.add(rows - len(errors))
        for error in errors.values():
            self._counter(status_of(error)).add()

    def _counter(self, status: int) -> Counter:
        counter = self._rows.get(status)
        if counter is None:
            labels = {"endpoint": self.endpoint.name, "status": str(status)}
            counter = self._rows[status] = self.serving.metrics.counter(
                "hansang_rows_total", "Answered rows.", **labels
            )
        return counter

    def _answer(self, asks: list[Ask], bodies: list[bytes], errors: dict[int, Exception]) -> None:
        start = 0
        for ask in asks:
            stop = start + len(ask.rows)
            faults = {place - start: errors[place] for place in range(start, stop) if place in errors}
            ask.answered = True
            if ask.timer is not None:
                ask.timer.cancel()
            try:
                self._send(ask, bodies[start:stop], faults)
            except Exception:  # a problem of the user's own may have a status or a header that HTTP has not
                request_id, failure = ask.calls[0].request_id or ask.id, ModelFailed()
                of = {"request_id": request_id, "trace_id": ask.calls[0].trace_id}
                log.exception("the answer at %s cannot be sent", self.endpoint.path, extra=of)
                ask.deliver(500, PROBLEM, to_json(problem(failure, request_id)), NO_MARKS, failure)
            start = stop

    def _send(self, ask: Ask, bodies: list[bytes], faults: dict[int, Exception]) -> None:
        """Send the answer to one request; `faults` are by row."""
        good = next((row for row in range(len(ask.rows)) if row not in faults), 0)
        marks = marks_of(ask.calls[good].trail)
        request_id = ask.calls[0].request_id or ask.id
        for row, error in faults.items():
            self._log(request_id, ask.calls[0].trace_id, row, error)
        if ask.many and (len(faults) < len(ask.rows) or LENIENT in ask.calls[0].headers.get("prefer", "")):
            for row, error in faults.items():
                bodies[row] = b'{"error":' + to_json(problem(error, request_id, row=row)) + b"}"
            ask.deliver(207 if faults else 200, JSON, b"[" + b",".join(bodies) + b"]", marks, None)
        elif faults:
            cause, document = whole(faults, request_id, ask.many)
            ask.deliver(failed_status(document["status"]), PROBLEM, to_json(document), marks, cause)
        else:
            ask.deliver(200, JSON, bodies[0], marks, None)

    def _log(self, request_id: str, trace: str, row: int, error: Exception) -> None:
        if status_of(error) < 500 or (isinstance(error, Problem) and error.public):
            return
        now = time.monotonic()
        cause = error.__cause__ or error
        log.error(
            "row %d at %s failed: %s",
            row,
            self.endpoint.path,
            error,
            exc_info=cause if now - self._traced > 1.0 else None,  # a flood of errors has one traceback a second
            extra={"request_id": request_id, "trace_id": trace},
        )
        self._traced = max(self._traced, now) if now - self._traced <= 1.0 else now


def failed_status(status: int) -> int:
    """Give a status that says that something failed; a failure is never answered with another."""
    if not 400 <= status <= 599:
        raise ValueError(f"{status} is not the status of a problem; it must be 400 to 599")
    return status


def identify(asks: list[Ask]) -> None:
    """Give every request that has none the id of its prediction."""
    nameless = [ask for ask in asks if not ask.id]
    for ask, id in zip(nameless, new_ids(len(nameless)) if nameless else (), strict=True):
        ask.id = id
        for call in ask.calls:
            call.id = id


def trace(headers: Mapping[str, str]) -> dict[str, Any] | None:
    """Give what is recorded of a request's trace context (W3C Trace Context)."""
    parent = headers.get("traceparent", "")
    return {"traceparent": parent} if TRACEPARENT.fullmatch(parent) else None


def read_patience(text: str) -> float:
    """Read the header x-deadline-ms; gives seconds from now."""
    try:
        patience = float(text) / 1000.0
    except ValueError:
        patience = 0.0
    if not patience > 0.0:
        raise BadRequest("x-deadline-ms must be a number of milliseconds above 0")
    return min(patience, 86400.0)


def unanswered(asks: list[Ask], outcomes: list[Any]) -> tuple[list[Ask], list[Any]]:
    """Keep the asks that still wait, with their outcomes."""
    waiting: list[Ask] = []
    kept: list[Any] = []
    start = 0
    for ask in asks:
        stop = start + len(ask.rows)
        if not ask.answered:
            waiting.append(ask)
            kept += outcomes[start:stop]
        start = stop
    return waiting, kept


def whole(faults: dict[int, Exception], request_id: str, many: bool) -> tuple[Problem | None, dict[str, Any]]:
    """Make one problem document of a request whose rows all failed; the most serious status counts."""
    row, error = max(faults.items(), key=lambda item: (status_of(item[1]), -item[0]))
    document = problem(error, request_id, row=row if many else None)
    if many:
        documents = [problem(fault, request_id, row=place) for place, fault in faults.items()]
        merged = [entry for each in documents for entry in each.get("errors", ())]
        if merged:
            document["errors"] = merged
        document["detail"] = f"all {len(faults)} rows failed; row {row}: {document['detail']}"
    return error if isinstance(error, Problem) else None, document
