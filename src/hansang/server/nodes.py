"""One node of a service at `/nodes/NAME`: batches of Python values from another process of the same service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response

from hansang.batch import Batch
from hansang.call import NO_HEADERS
from hansang.errors import BadRequest, Problem, Unavailable, UnsupportedMedia, problem_body, status_of
from hansang.graph import settle
from hansang.logs.whose import around
from hansang.peers.messages import facts, read_request, write_answers
from hansang.peers.values import WireError
from hansang.peers.wire import MEDIA
from hansang.server.ask import NO_MARKS, PROBLEM, Ask, Marks
from hansang.server.ids import new_ids
from hansang.server.request import read_body
from hansang.server.turn import Turn
from hansang.service import Endpoint

MEDIA_BYTES = MEDIA.encode()


class NodeTurn(Turn):
    """Answers one batch a request; the rows are the other process's, which records and encodes them."""

    media = MEDIA

    def take(
        self, ask: Ask, body: bytes, fault: Problem | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        """Take a batch; its answer comes by `ask.deliver`, always. `headers` are the request's, not those of rows."""
        ask.id = new_ids(1)[0]
        try:
            if fault is not None:
                raise fault
            batch = read_batch(body)
            refusal = self.serving.refusal(batch.size)
            if refusal is not None:
                raise refusal
        except Problem as error:
            self._refuse(ask, error)
            return
        if batch.has_calls:
            ask.calls = batch.calls  # so that they are told when the connection closes
        self.serving.in_flight += batch.size
        self.tasks.add(self.loop.create_task(self._answer_batch(ask, batch)))

    async def _answer_batch(self, ask: Ask, batch: Batch) -> None:
        known = facts(batch)
        around.set(batch)
        try:
            answers = await settle(self.graph, batch)
            body = write_answers(batch, answers, known)
            errors = {place: row for place, row in enumerate(answers.rows) if isinstance(row, Exception)}
            self._count(
                [ask], batch.size, errors if answers.failed else {}, [time.monotonic() - ask.started] * batch.size
            )
            for place, error in errors.items():
                call = batch.calls[place]
                self._log(call.request_id or call.id or ask.id, call.trace_id, place, error)
            ask.answered = True
            ask.deliver(200, MEDIA_BYTES, body, NO_MARKS, None)
        except asyncio.CancelledError:
            self._refuse(ask, Unavailable("the service ended before the answer", retry_after=1.0))
            raise
        except BaseException as error:
            ask.calls = ask.calls or batch.calls
            self._bug([ask], error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.serving.settled(batch.size)
            self.tasks.discard(asyncio.current_task())

    def _refuse(self, ask: Ask, error: Problem) -> None:
        """Answer a whole batch with one problem."""
        if not ask.answered:
            ask.answered = True
            self._counter(status_of(error)).add()
            ask.deliver(error.status, PROBLEM, problem_body(error, ask.id), NO_MARKS, error)


class BatchReply(Ask):
    """A batch that came through ASGI; its answer becomes a `Response`."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        super().__init__([], [], True, None, time.monotonic())
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        """Hand over the answer."""
        if not self.future.done():
            self.future.set_result(Response(body, status, {"x-prediction-id": self.id}, media.decode()))


def read_batch(body: bytes) -> Batch:
    """Read a batch from a body; raises `BadRequest`."""
    try:
        return read_request(body, time.monotonic())
    except WireError as error:
        raise BadRequest(str(error)) from error


def add_node(app: FastAPI, endpoint: Endpoint) -> None:
    """Register the route of a node, for servers other than `hansang serve`."""

    async def predict(request: Request) -> Response:
        serving = getattr(request.app.state, "serving", None)
        turn = serving.turns.get(endpoint.path) if serving is not None else None
        if not isinstance(turn, NodeTurn):
            raise Unavailable("the service is not started", retry_after=1.0)
        fault = None
        if request.headers.get("content-type") != MEDIA:
            fault = UnsupportedMedia(f"this content type is not read here; send {MEDIA}")
        reply = BatchReply()
        body = await read_body(request, turn.serving.settings.max_body)
        turn.take(reply, body, fault, dict(request.headers))
        return await reply.future

    app.add_api_route(endpoint.path, predict, methods=["POST"], include_in_schema=False)
