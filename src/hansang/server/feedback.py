"""`POST /feedback` in the ASGI application: for other servers, for tests, and under middleware of the user's own.

Hansang's own server answers it in the connection; see `posting`.
"""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request, Response

from hansang.errors import NotFound, Problem
from hansang.server.feedback_rows import read_truths
from hansang.server.head import media_fault
from hansang.server.ids import new_ids
from hansang.server.posting import Missing, path_id, read_key, reply
from hansang.server.request import read_body
from hansang.server.serving import serving_of


def add_feedback(app: FastAPI) -> None:
    """Register the routes; their description is written by hand, for they read their bodies themselves."""
    app.router.add_route("/feedback/{id}", take, methods=["POST"], include_in_schema=False)
    app.router.add_route("/feedback", take, methods=["POST"], include_in_schema=False)


async def take(request: Request) -> Response:
    """Read feedback, have it written, and answer how many rows are kept."""
    serving = serving_of(request.app)
    desk, settings = serving.desk, serving.settings
    if desk is None:
        raise NotFound(
            f"feedback is not taken here: {'HANSANG_FEEDBACK' if settings.record else 'HANSANG_RECORD'} is false"
        )
    fault = media_fault({key.lower(): value for key, value in request.headers.items()})
    if fault is not None:
        raise fault
    key = read_key(request.headers.get("idempotency-key"))
    id = request.path_params.get("id")
    body = await read_body(request, settings.max_body)
    try:
        read = read_truths(body, None if id is None else path_id(id), settings.max_rows, settings.record_body_limit)
    except Problem:
        desk.count("invalid", 1)
        raise
    desk.count("invalid", len(read[1]))
    future: asyncio.Future[Missing | Problem] = asyncio.get_running_loop().create_future()
    desk.hand_in(list(read[0].values()), key, lambda missing: None if future.done() else future.set_result(missing))
    missing = await future
    if isinstance(missing, Problem):
        raise missing
    request_id = request.headers.get("x-request-id") or new_ids(1)[0]
    status, answer = reply(desk, read, missing, request_id)
    return Response(answer, status, media_type="application/json")
