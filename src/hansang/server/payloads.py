"""`GET /records/{id}/payloads/{sha256}`: a payload of a prediction, for operators."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import Response

from hansang.errors import NotFound, RecordError, Unavailable
from hansang.record.payloads import Reference, fetch, references_of

SHOWN = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "application/json")
OTHER = "application/octet-stream"


def listed(id: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the payloads of rows, with the address of each."""
    return [
        {
            "row": row["row"],
            "role": row["role"],
            "at": each.at,
            "sha256": each.sha256,
            "bytes": each.bytes,
            "media_type": each.media_type,
            "href": f"/records/{id}/payloads/{each.sha256}",
        }
        for row in rows
        for each in references_of(row)
    ]


def payload(folder: Path, id: str, name: str, rows: Iterable[dict[str, Any]]) -> Response:
    """Give a payload that the rows refer to; the browser is told not to run it."""
    found: Reference | None = next((each for row in rows for each in references_of(row) if each.sha256 == name), None)
    try:
        data = fetch(folder, name) if found is not None else None
    except RecordError as error:
        raise Unavailable(str(error), retry_after=5.0) from error
    if found is None or data is None:
        raise NotFound(f"prediction {id} has no payload {name}" if found is None else f"the payload {name} is not kept")
    headers = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
    return Response(data, headers=headers, media_type=found.media_type if found.media_type in SHOWN else OTHER)
