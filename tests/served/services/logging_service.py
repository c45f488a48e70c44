"""A service that logs in its node, in a route and in middleware of its own."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request

from hansang import Service, node

log = logging.getLogger("shop")


@node.each
def add(row: dict[str, int]) -> dict[str, int]:
    log.info("adding %d", row["n"])
    if row["n"] < 0:
        raise ValueError("below zero")
    return {"n": row["n"] + 1}


service = Service("adding", add, input=dict[str, int], example={"n": 1})


@service.app.get("/stock")
def stock(request: Request) -> dict[str, Any]:
    log.info("in the route")
    return {"stock": 3}
