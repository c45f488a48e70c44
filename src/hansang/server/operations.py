"""Health, metrics and metadata: what an operator asks a running service."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY as USERS
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from hansang import __version__
from hansang.codec import with_null
from hansang.errors import NotFound, UsageError
from hansang.graph import walk
from hansang.nodes.remote import Remote
from hansang.pictures.data import graph_data
from hansang.pictures.svg import service_svg
from hansang.record.sinks.collect import CorruptCollector, SinkCollector
from hansang.server.health import Readiness
from hansang.server.serving import Serving, serving_of
from hansang.service import Endpoint, Service

Route = tuple[str, Any, str, dict[str, Any]]

RAW: dict[str, Any] = {"response_class": Response}
CHOICE = RAW | {
    "openapi_extra": {
        "parameters": [
            {"name": "endpoint", "in": "query", "schema": {"type": "string"}, "description": "Its path or its name."}
        ]
    }
}
PICTURE = {
    "content-type": "image/svg+xml",
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",  # it is shown, and does nothing
    "x-content-type-options": "nosniff",
}


def add_operations(app: FastAPI, service: Service) -> None:
    """Register health, metrics and metadata."""
    readiness: dict[int, Readiness] = {}

    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> JSONResponse:
        serving = serving_of(request.app)
        if id(serving) not in readiness:
            readiness.clear()
            readiness[id(serving)] = Readiness(serving)
        report = await readiness[id(serving)].report()
        headers = {} if report["ready"] else {"retry-after": "1"}
        return JSONResponse(report, 200 if report["ready"] else 503, headers)

    def metrics(request: Request) -> Response:
        return Response(metrics_text(serving_of(request.app)), media_type="text/plain; version=0.0.4; charset=utf-8")

    def metadata(request: Request) -> JSONResponse:
        serving_of(request.app)
        return JSONResponse(metadata_of(service))

    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready; the checks say why"}}
    text: dict[int | str, dict[str, Any]] = {
        200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}
    }
    routes: list[Route] = [
        ("/healthz", healthz, "Whether the process lives", {}),
        ("/readyz", readyz, "Whether it can predict: a real prediction of the example row", {"responses": not_ready}),
        ("/metrics", metrics, "Prometheus metrics of all processes", {"responses": text} | RAW),
        ("/metadata", metadata, "The service, its models and their versions, its schemas", {}),
    ]
    routes.append(picture_route(service))
    for path, handler, summary, options in routes:
        app.add_api_route(path, handler, tags=["operations"], summary=summary, **options)
        app.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)


def picture_route(service: Service) -> Route:
    """Make the route that draws the graphs."""

    def graph(request: Request) -> Response:
        serving_of(request.app)
        chosen = endpoint_of(service, request.query_params.get("endpoint"))
        return Response(service_svg(service, chosen), headers=PICTURE)

    picture: dict[int | str, dict[str, Any]] = {
        200: {"description": "An SVG", "content": {"image/svg+xml": {}}},
        404: {"description": "No such endpoint", "content": {"application/problem+json": {}}},
    }
    options = {"responses": picture} | CHOICE
    return "/graph.svg", graph, "A picture of the graphs, or of one endpoint's", options


def endpoint_of(service: Service, name: str | None) -> Endpoint | None:
    """Find the endpoint that a picture was asked of; a `NotFound` names those that there are."""
    try:
        return service.find(name) if name is not None else None
    except UsageError as error:
        raise NotFound(str(error)) from None


def metrics_text(serving: Serving) -> bytes:
    """Write all metrics in Prometheus' text format, the user's own from prometheus-client included."""
    serving.measure()
    registry = CollectorRegistry()
    registry.register(serving.metrics)
    if serving.recorder is not None:
        registry.register(CorruptCollector(serving.settings.records))
        registry.register(SinkCollector(serving.settings.records))
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
        entry["managed"] = bool(model.managed)
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
                "output": with_null(codec.output.json_schema(mode="serialization")) if codec and codec.output else None,
                "example": endpoint.sample(),
                "graph": graph_data(endpoint.placed),
            }
        )
    return {
        "name": service.name,
        "version": service.version,
        "description": service.description,
        "owner": service.owner,
        "hansang": __version__,
        "models": models,
        "workers": service.app.state.serving.siblings.notes(),
        "nodes": {
            node.name: node.url for e in service.endpoints for node in walk(e.placed) if isinstance(node, Remote)
        },
        "endpoints": endpoints,
    }
