"""Answers that come later: `GET /jobs/{id}`."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from hansang.errors import JobsError, NotFound, Unavailable
from hansang.graph import walk
from hansang.jobs.document import Job, job_of
from hansang.jobs.store import JobRow, JobStore
from hansang.nodes.staged import Staged
from hansang.server.openapi import problem_responses
from hansang.server.serving import serving_of
from hansang.service import Service

NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
YOUNG = 2.0  # seconds in which the row of an answer that has left may still be on its way into the store
LOOKS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)

log = logging.getLogger("hansang")


def add_jobs(app: FastAPI, service: Service) -> None:
    """Register the route; whoever may ask an endpoint with a `staged` may ask for its slow answers."""
    endpoints = [each for each in service.endpoints if any(isinstance(node, Staged) for node in walk(each.graph))]

    async def job(id: str, request: Request) -> JSONResponse:
        nodes = serving_of(request.app).later
        if not nodes:
            raise NotFound("this service has no answers that come later; they are made by a node staged(…)")
        rows = await find(nodes, id)
        if not rows:
            kept = max(node.ttl for node in nodes)
            raise NotFound(f"no job of this id; results are kept for {kept:g} s, and lost with their store")
        return JSONResponse(job_of(id, rows, time.time()), headers={"cache-control": "no-store"})

    problems = problem_responses()
    missing = {"description": "No such job, or not any more; the text says how long results are kept"}
    responses: dict[int | str, dict[str, Any]] = {
        404: {**problems["default"], **missing},
        503: problems["503"],
        "default": problems["default"],
    }
    app.add_api_route(
        "/jobs/{id}",
        job,
        tags=["predictions"],
        summary="The answers that come later, under the id of a prediction",
        response_model=Job,
        response_model_exclude_unset=True,
        responses=responses,
        dependencies=list(dict.fromkeys(each for endpoint in endpoints for each in endpoint.dependencies)),
        include_in_schema=bool(endpoints),
    )


async def find(nodes: Sequence[Staged], id: str) -> list[JobRow]:
    """Give the rows of a job; those of an id that is new are waited for, for they may be on their way."""
    if not NAME.fullmatch(id):
        return []
    stores: list[JobStore] = []
    for node in nodes:
        stores += [store for store in node.stores if store not in stores]
    try:
        for pause in (*LOOKS, 0.0):
            for store in stores:
                rows = await store.get(id)
                if rows:
                    return rows
            if not pause or abs(time.time() - born(id)) > YOUNG:
                break
            await asyncio.sleep(pause)
    except JobsError as error:
        log.error("%s", error)
        raise Unavailable("the store of jobs cannot be read", retry_after=1.0) from error
    return []


def born(id: str) -> float:
    """Read the time at which an id was made, in seconds since the epoch (RFC 9562, UUID version 7)."""
    return int(id[:8] + id[9:13], 16) / 1000.0
