"""A service whose nodes can stand in processes of their own: it asks two of them at once, and one is enough."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from hansang import Batch, Model, Problem, Service, parallel


class Row(BaseModel):
    x: float = Field(examples=[2.0])


class Cut(BaseModel):
    """What goes from one process to another: plain values, an array, a pair."""

    x: float
    values: Any
    box: Any


class TooSmall(Problem):
    """The row has nothing to look at."""

    status = 422
    title = "Too small"


def cut(batch: Batch) -> list[Any]:
    return [
        Cut(x=row.x, values=np.full((4, 4), row.x, np.float32), box=(1, 2))
        if row.x > 0
        else TooSmall(f"{row.x} is small")
        for row in batch.rows
    ]


def total(batch: Batch) -> list[Any]:
    for call in batch.calls:
        call.tag("seen by", "total")
    return [ValueError("it is 13") if row.x == 13 else float(row.values.sum()) for row in batch.rows]


def largest(batch: Batch) -> dict[str, np.ndarray]:
    return {"largest": np.array([row.values.max() for row in batch.rows])}


def pid(batch: Batch) -> list[int]:
    return [os.getpid()] * batch.size


panel = parallel(total=Model(total, name="total"), largest=Model(largest, name="largest"), quorum=1, name="panel")
service = Service("panel", Model(cut, name="cut") >> panel, input=Row)
service.endpoint("/pid", Model(pid, name="pid"), input=Row)
