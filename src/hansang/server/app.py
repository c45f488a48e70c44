"""The service as a FastAPI application: the same prediction routes, and everything that is not a prediction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hansang.alone import NodeEndpoint
from hansang.call import Call
from hansang.codec import message
from hansang.errors import BadRequest, CallerLeft, InvalidRow, Problem, Unavailable, problem, title
from hansang.server.ask import PROBLEM, Ask, Marks, problem_fields
from hansang.server.feedback import add_feedback
from hansang.server.head import LONGEST_ID, read_id
from hansang.server.ids import new_ids
from hansang.server.jobs import add_jobs
from hansang.server.nodes import add_node
from hansang.server.openapi import describe
from hansang.server.operations import add_operations
from hansang.server.records import add_records
from hansang.server.request import as_dependency, read_rows
from hansang.server.serving import Serving, serving_of
from hansang.server.turn import Turn, read_patience, trace
from hansang.server.visits import visit_id
from hansang.server.webhook import add_webhook
from hansang.service import Endpoint, Service

log = logging.getLogger("hansang")


class Reply(Ask):
    """A request that came through ASGI; its answer becomes a `Response`."""

    __slots__ = ("future", "root")

    def __init__(self, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None, root: str) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(rows, calls, many, raw, time.monotonic())
        self.root = root
        self.future: asyncio.Future[Response] = loop.create_future()

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        """Hand over the answer."""
        headers = marks.fields | {"x-prediction-id": self.id}
        request_id = self.calls[0].request_id
        if request_id is not None:
            headers["x-request-id"] = request_id
        if marks.job:
            headers["location"] = self.location
        headers.update(problem_fields(error))
        if not self.future.done():
            self.future.set_result(Response(body, status, headers, media.decode()))

    @property
    def location(self) -> str:
        """Where the answer that comes later will be, below the path at which the service is mounted."""
        return self.root + super().location


def make_app(service: Service) -> FastAPI:
    """Build the application of a service; its lifespan loads the models and drains."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        serving = Serving(service, getattr(app.state, "settings", None))
        service.app.state.serving = serving
        try:
            async with serving.running():
                if not bypassable(service.app):
                    log.info("%s has middleware or handlers of its own: its predictions go through ASGI", service.name)
                    serving.fast.clear()
                yield
        except Exception as error:
            service.app.state.fault = error  # for whoever started the server: uvicorn only says that there was one
            raise

    app = FastAPIOffline(
        title=service.name,
        description=service.description,
        version=service.version,
        lifespan=lifespan,
        openapi_tags=[{"name": "predictions"}, {"name": "feedback"}, {"name": "operations"}],
    )
    for endpoint in service.endpoints:
        add_node(app, endpoint) if isinstance(endpoint, NodeEndpoint) else add_prediction(app, endpoint)
    add_handlers(app)
    add_operations(app, service)
    add_jobs(app, service)
    add_feedback(app)
    add_records(app)
    add_webhook(app)
    describe(app, service)
    app.state.own = (len(app.user_middleware), dict(app.exception_handlers))
    return app


def bypassable(app: FastAPI) -> bool:
    """Say whether predictions may skip ASGI: not when the user put middleware or error handlers around them."""
    middleware, handlers = app.state.own
    return (
        len(app.user_middleware) == middleware
        and app.exception_handlers == handlers
        and not app.router.dependencies
        and not app.dependency_overrides
    )


# --- predictions ---


def add_prediction(app: FastAPI, endpoint: Endpoint) -> None:
    """Register a prediction route."""
    options: dict[str, Any] = {
        "methods": ["POST"],
        "name": endpoint.name,
        "tags": ["predictions"],
        "dependencies": list(endpoint.dependencies),
        "include_in_schema": endpoint.declared or bool(endpoint.dependencies),
    }
    if not endpoint.declared:

        async def predict(request: Request) -> Response:
            turn, calls = begin(request, endpoint)
            try:
                rows, many, raw = await read_rows(request, turn)
            except Problem as error:
                rows, many, raw = [error], False, None
            return await answer(request, turn, calls, rows, many, raw)

        app.add_api_route(endpoint.path, predict, **options)
        return

    dependency = Depends(as_dependency(endpoint.input))  # a default: FastAPI could not find it in the annotation's text

    async def predict_declared(request: Request, row: Any = dependency) -> Response:
        turn, calls = begin(request, endpoint)
        many = isinstance(row, list)
        return await answer(request, turn, calls, row if many else [row], many, None)

    options["response_model"] = None
    if endpoint.output is not None:
        options["responses"] = {200: {"model": endpoint.output}}
    app.add_api_route(endpoint.path, predict_declared, summary=endpoint.description or None, **options)


def begin(request: Request, endpoint: Endpoint) -> tuple[Turn, Callable[[int], Call]]:
    """Find the endpoint's turn, and make what makes the calls of this request."""
    serving = serving_of(request.app)
    turn = serving.turns.get(endpoint.path)
    if turn is None:
        raise Unavailable(f"the service is {serving.state}", retry_after=1.0)
    headers = {key.lower(): value for key, value in request.headers.items()}
    patience = endpoint.deadline
    if "x-deadline-ms" in headers:
        patience = read_patience(headers["x-deadline-ms"])
    deadline = time.monotonic() + patience if patience is not None else None
    request_id = read_id(headers)
    tags = trace(headers)
    return turn, lambda row: Call("", row, deadline, headers, None, request_id, tags=tags)


async def answer(
    request: Request, turn: Turn, call: Callable[[int], Call], rows: list[Any], many: bool, raw: bytes | None
) -> Response:
    """Send rows through the graph and give the answer; drop them when the client leaves."""
    refusal = turn.serving.refusal(len(rows))
    fault = rows[0] if not many and isinstance(rows[0], Problem) else refusal
    if many and not rows:
        fault = InvalidRow(
            "there are no rows", errors=[{"loc": [], "type": "too_short", "msg": "at least one row is needed"}]
        )
    if fault is not None:
        rows, many = [fault], False
    reply = Reply(rows, [call(n) for n in range(len(rows))], many, raw, request.scope.get("root_path", ""))
    reply.name(visit_id())
    if fault is not None:
        turn.reject(reply, fault)
        return await reply.future
    turn.add(reply)
    watch = asyncio.ensure_future(client_left(request))
    both: set[asyncio.Future[Any]] = {reply.future, watch}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not reply.future.done():
            reply.leave()
        return await reply.future
    except asyncio.CancelledError:
        reply.leave()
        raise
    finally:
        watch.cancel()


async def client_left(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


# --- errors ---


def add_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem document."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # the registration says so
        return await refuse_row(request, error) if isinstance(error, InvalidRow) else problem_response(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # the registration says so
        detail = str(error.detail) if error.detail != title(error.status_code) else ""
        if error.status_code == 404 and not detail:
            detail = "nothing is at this address; see /docs"
        if error.status_code == 405 and not detail:
            detail = f"this address does not answer {request.method}"
        document = {"type": "about:blank", "title": title(error.status_code), "status": error.status_code}
        return respond(request, {**document, "detail": detail}, dict(error.headers or {}))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # the registration says so
        faults = error.errors()
        if faults and faults[0]["type"] == "json_invalid":
            return problem_response(request, BadRequest(f"the body is not JSON: {faults[0]['ctx']['error']}"))
        errors = [{"loc": list(fault["loc"]), "type": fault["type"], "msg": message(fault)} for fault in faults]
        text = f"{len(errors)} {'fault' if len(errors) == 1 else 'faults'} in the request"
        return await refuse_row(request, InvalidRow(text, errors=errors))

    async def on_left(request: Request, error: Exception) -> Response:
        return Response(status_code=CallerLeft.status)  # nobody will read it

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem_response(request, error)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(ClientDisconnect, on_left)
    app.add_exception_handler(Exception, on_bug)


def problem_response(request: Request, error: Exception) -> Response:
    """Answer with an error's problem document."""
    return respond(request, problem(error, ""), problem_fields(error if isinstance(error, Problem) else None))


def respond(request: Request, document: dict[str, Any], headers: dict[str, str]) -> Response:
    """Answer with a problem document, which gets its request's id here."""
    id = visit_id() or new_ids(1)[0]
    given = request.headers.get("x-request-id", "")[:LONGEST_ID]
    document["request_id"] = given or id
    headers["x-prediction-id"] = id
    if given:
        headers["x-request-id"] = given
    return Response(to_json(document), document["status"], headers, PROBLEM.decode())


async def refuse_row(request: Request, error: InvalidRow) -> Response:
    """Answer a row that does not fit; one that came for a prediction is counted and recorded like any other."""
    path = getattr(request.scope.get("route"), "path", "")
    serving: Serving | None = getattr(request.app.state, "serving", None)
    turn = serving.turns.get(path) if serving is not None else None
    if turn is None:
        return problem_response(request, error)
    try:
        _, call = begin(request, turn.endpoint)
    except Problem as fault:
        return problem_response(request, fault)
    return await answer(request, turn, call, [error], False, None)
