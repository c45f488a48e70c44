"""The service as a FastAPI application: the same prediction routes, and everything that is not a prediction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import REGISTRY as USERS
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from hansang import __version__
from hansang.call import Call
from hansang.errors import InvalidRow, Problem, Unavailable, problem, title
from hansang.server.ask import PROBLEM, Ask
from hansang.server.health import Readiness
from hansang.server.ids import new_ids
from hansang.server.openapi import describe
from hansang.server.request import as_dependency, read_rows
from hansang.server.serving import Serving
from hansang.server.turn import Turn, read_patience, trace
from hansang.service import Endpoint, Service

log = logging.getLogger("hansang")


class Reply(Ask):
    """A request that came through ASGI; its answer becomes a `Response`."""

    __slots__ = ("future",)

    def __init__(self, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(rows, calls, many, raw, time.monotonic())
        self.future: asyncio.Future[Response] = loop.create_future()

    def deliver(self, status: int, media: bytes, body: bytes, id: str, version: str, error: Problem | None) -> None:
        """Hand over the answer."""
        headers = {"x-model-version": version, "x-prediction-id": id}
        request_id = self.calls[0].request_id
        if request_id is not None:
            headers["x-request-id"] = request_id
        headers.update(headers_of(error))
        if not self.future.done():
            self.future.set_result(Response(body, status, headers, media.decode()))


def headers_of(error: Problem | None) -> dict[str, str]:
    """Give the header fields that a problem asks for."""
    if error is None:
        return {}
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return headers


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
        title=service.name, description=service.description, version=service.version, lifespan=lifespan
    )
    for endpoint in service.endpoints:
        add_prediction(app, endpoint)
    add_handlers(app)
    add_operations(app, service)
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


def serving_of(app: Any) -> Serving:
    """Give what the process serves with; `Unavailable` when nobody entered the application's lifespan."""
    serving: Serving | None = getattr(app.state, "serving", None)
    if serving is None:
        raise Unavailable(
            "the service has not been started; an application that mounts it must enter its lifespan: "
            "FastAPI(lifespan=service.lifespan)"
        )
    return serving


# --- predictions ---


def add_prediction(app: FastAPI, endpoint: Endpoint) -> None:
    """Register a prediction route."""
    options: dict[str, Any] = {
        "methods": ["POST"],
        "name": endpoint.name,
        "dependencies": list(endpoint.dependencies),
        "include_in_schema": endpoint.declared,
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

    dependency = as_dependency(endpoint.input)

    async def predict_declared(request: Request, row: Annotated[Any, Depends(dependency)]) -> Response:
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
    request_id = headers.get("x-request-id")
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
    reply = Reply(rows, [call(n) for n in range(len(rows))], many, raw)
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
        return problem_response(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # the registration says so
        given = request.headers.get("x-request-id") or new_ids(1)[0]
        detail = error.detail if error.detail != title(error.status_code) else ""
        if error.status_code == 404 and not detail:
            detail = f"nothing is at {request.url.path}; see /docs"
        if error.status_code == 405 and not detail:
            detail = f"{request.url.path} does not answer {request.method}"
        document = {
            "type": "about:blank",
            "title": title(error.status_code),
            "status": error.status_code,
            "detail": detail,
            "request_id": given,
        }
        return Response(to_json(document), error.status_code, dict(error.headers or {}), PROBLEM.decode())

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # the registration says so
        errors = [{"loc": list(e["loc"]), "type": e["type"], "msg": e["msg"]} for e in error.errors()]
        return problem_response(request, InvalidRow(f"{len(errors)} faults in the request", errors=errors))

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem_response(request, error)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_bug)


def problem_response(request: Request, error: Exception) -> Response:
    """Answer with an error's problem document."""
    document = problem(error, request.headers.get("x-request-id") or new_ids(1)[0])
    headers = headers_of(error if isinstance(error, Problem) else None)
    return Response(to_json(document), document["status"], headers, PROBLEM.decode())


# --- operations ---


def add_operations(app: FastAPI, service: Service) -> None:
    """Register health, metrics and metadata."""
    readiness: dict[int, Readiness] = {}

    @app.get("/healthz", tags=["operations"], summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["operations"], summary="Whether it can predict: a real prediction of the example row")
    async def readyz(request: Request) -> JSONResponse:
        serving = serving_of(request.app)
        if id(serving) not in readiness:
            readiness.clear()
            readiness[id(serving)] = Readiness(serving)
        report = await readiness[id(serving)].report()
        headers = {} if report["ready"] else {"retry-after": "1"}
        return JSONResponse(report, 200 if report["ready"] else 503, headers)

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics of all processes")
    def metrics(request: Request) -> Response:
        return Response(metrics_text(serving_of(request.app)), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/metadata", tags=["operations"], summary="The service, its models and their versions, its schemas")
    def metadata(request: Request) -> JSONResponse:
        serving_of(request.app)
        return JSONResponse(metadata_of(service))


def metrics_text(serving: Serving) -> bytes:
    """Write all metrics in Prometheus' text format, the user's own from prometheus-client included."""
    if serving.recorder is not None:
        stats = serving.recorder.stats()
        gauge = serving.metrics.gauge
        gauge("hansang_record_rows", "Rows recorded since the start.").set(stats.rows)
        for reason, rows in stats.lost.items():
            gauge("hansang_record_lost_rows", "Rows not recorded, by reason.", reason=reason).set(rows)
    serving.metrics.gauge("hansang_rows_in_flight", "Rows without an answer.").set(serving.in_flight)
    registry = CollectorRegistry()
    registry.register(serving.metrics)
    if serving.metrics.folder is None:
        return generate_latest(registry) + generate_latest(USERS)
    multiprocess.MultiProcessCollector(registry, str(serving.metrics.folder))  # type: ignore[no-untyped-call]  # theirs
    return generate_latest(registry)


def metadata_of(service: Service) -> dict[str, Any]:
    """Say what is served: by whom, with which models and versions, and the schemas."""
    models = []
    for model in service.models:
        loaded, artifact = model.loaded, model.loaded.artifact
        entry: dict[str, Any] = {"name": loaded.name, "version": loaded.version, "runtime": loaded.runtime.name}
        if artifact is not None:
            entry |= {"uri": artifact.uri, "model_id": artifact.model_id, "run_id": artifact.run_id}
            entry |= {"aliases": list(artifact.aliases), "digest": artifact.digest}
        models.append(entry)
    turns = service.app.state.serving.turns
    endpoints = []
    for endpoint in service.endpoints:
        codec = turns[endpoint.path].codec if endpoint.path in turns else None
        endpoints.append(
            {
                "path": endpoint.path,
                "name": endpoint.name,
                "description": endpoint.description,
                "deadline_ms": endpoint.deadline * 1000.0 if endpoint.deadline is not None else None,
                "models": [model.loaded.name for model in endpoint.models],
                "input": codec.schema if codec is not None and not endpoint.declared else None,
                "output": codec.output.json_schema(mode="serialization") if codec and codec.output else None,
                "example": endpoint.sample(),
            }
        )
    return {
        "name": service.name,
        "version": service.version,
        "description": service.description,
        "owner": service.owner,
        "hansang": __version__,
        "models": models,
        "endpoints": endpoints,
    }
