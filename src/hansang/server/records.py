"""`GET /records/{id}`: what is kept of one prediction, for operators."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from hansang.errors import NotFound
from hansang.extras import require
from hansang.record.keep import retention_words
from hansang.record.known import Known
from hansang.server.payloads import listed, payload
from hansang.server.posting import path_id
from hansang.server.serving import serving_of

BODIES = ("input", "output", "tags", "truth")
ANSWERS: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such prediction is kept, or the route is switched off"},
    422: {"description": "The id is none"},
}


def add_records(app: FastAPI) -> None:
    """Register the route; one request at a time reads the record, in a thread."""
    lock = asyncio.Lock()
    known: dict[str, Known] = {}

    async def found(request: Request, id: str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
        serving = serving_of(request.app)
        settings = serving.settings
        if serving.recorder is None or not settings.records_route:
            setting = "HANSANG_RECORDS_ROUTE" if settings.record else "HANSANG_RECORD"
            raise NotFound(f"the record is not shown here: {setting} is false")
        id = path_id(id)
        async with lock:
            if known and next(iter(known.values())).folder != settings.records:
                known.clear()
            rows, feedback = await asyncio.to_thread(find, settings.records, id, known)
        if not rows:
            raise NotFound(f"no prediction {id} in the record; {retention_words(settings.records)}")
        return id, rows, feedback

    async def record(request: Request, id: str) -> Response:
        shown = document(*await found(request, id))
        return Response(to_json(shown, inf_nan_mode="null"), media_type="application/json")

    async def record_payload(request: Request, id: str, sha256: str) -> Response:
        id, rows, _ = await found(request, id)
        return await asyncio.to_thread(payload, serving_of(request.app).settings.records, id, sha256, rows)

    options: dict[str, Any] = {"response_class": Response, "responses": ANSWERS, "tags": ["operations"]}
    app.add_api_route("/records/{id}", record, summary="What is kept of a prediction, for operators", **options)
    path = "/records/{id}/payloads/{sha256}"
    app.add_api_route(path, record_payload, summary="A payload of a prediction, for operators", **options)


def find(folder: Path, id: str, known: dict[str, Known]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Find a prediction; Arrow is imported with the first call, in the thread."""
    found: tuple[list[dict[str, Any]], list[dict[str, Any]]] = require("hansang.record.find", "").find(
        folder, id, known
    )
    return found


def document(id: str, rows: list[dict[str, Any]], feedback: list[dict[str, Any]]) -> dict[str, Any]:
    """Lay out what is kept: the live rows, the shadows beside them, the feedback with its history."""
    return {
        "id": id,
        "rows": [shown(row) for row in rows if row["role"] == "live"],
        "beside": [shown(row) for row in rows if row["role"] != "live"],
        "feedback": [shown(row) for row in feedback],
        "payloads": listed(id, rows),
    }


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Give a row with its bodies as the JSON they are, and times that say that they are in UTC."""
    row = {name: value for name, value in row.items() if name != "id"}
    for name in BODIES:
        if isinstance(row.get(name), str):
            try:
                row[name] = json.loads(row[name])
            except ValueError:
                pass  # it stays the text that it is
    return {name: value.isoformat() + "Z" if hasattr(value, "isoformat") else value for name, value in row.items()}
