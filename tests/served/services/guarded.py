"""A heavy node, a light one behind it, and two heads of which one may be away."""

from typing import Any

from hansang import Batch, Service, fallback, node, parallel


@node.each
def heavy(row: dict[str, int]) -> dict[str, str]:
    if row["n"] < 0:
        raise ValueError("below zero")
    return {"by": "heavy"}


@node.each
def away(row: dict[str, int]) -> str:
    if row["n"] < 0:
        raise ConnectionError("away")
    return "here"


@node
def size(batch: Batch) -> list[Any]:
    return [row["n"] for row in batch.rows]


service = Service("guarded", fallback(heavy, {"by": "light"}, name="guard"), input=dict[str, int], example={"n": 1})
service.endpoint("/heads", parallel(away=away, size=size, quorum=1, name="heads"), input=dict[str, int])
