"""Slow answers of an endpoint that asks for a key."""

from typing import Annotated, Any

from fastapi import Depends, Header, HTTPException
from pydantic import BaseModel

from hansang import Batch, Service, staged


class Order(BaseModel):
    x: float


def double(batch: Batch) -> list[Any]:
    return [{"y": 2.0 * row.x} for row in batch.rows]


def check(x_key: Annotated[str, Header()] = "") -> None:
    if x_key != "open":
        raise HTTPException(401, "the key is wrong")


service = Service("keyed", staged(double, double), input=Order, dependencies=[Depends(check)])
