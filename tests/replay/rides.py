"""A service of rides, and by RIDES_FACTOR and RIDES_LIMIT another version of it."""

import os
from typing import Literal

from pydantic import BaseModel, Field

from hansang import Batch, Model, Service

FACTOR = float(os.environ.get("RIDES_FACTOR", "3"))


class Trip(BaseModel):
    km: float = Field(ge=0, le=float(os.environ.get("RIDES_LIMIT", "1000")))
    city: str = "Seoul"


class Ride(BaseModel):
    minutes: float
    kind: Literal["short", "long"]


def ride(batch: Batch) -> list[dict[str, object]]:
    return [{"minutes": row.km * FACTOR, "kind": "long" if row.km * FACTOR > 15 else "short"} for row in batch.rows]


service = Service("rides", Model(ride, name="ride"), input=Trip, output=Ride)
