"""A service without a model file: demand from the hour, as a row function and as whole columns."""

import os
import time

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hansang import Batch, Model, Service


class Hour(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hour: int = Field(ge=0, le=23)
    temp: float = Field(ge=0, le=1)
    city: str = Field(min_length=2)
    open: bool = True
    note: str | None = None


class Demand(BaseModel):
    bikers: float = Field(ge=0)
    city: str
    parts: list[float]


def by_row(batch: Batch) -> list[dict[str, object]]:
    time.sleep(float(os.environ.get("DEMAND_SECONDS", "0")))
    return [
        {"bikers": row.hour * 10 + row.temp, "city": row.city.upper(), "parts": [row.temp, float(row.open)]}
        for row in batch.rows
    ]


def by_column(batch: Batch) -> dict[str, np.ndarray]:
    columns = batch.columns(("hour", "temp", "city", "open"))
    return {
        "bikers": columns["hour"] * 10 + columns["temp"],
        "city": np.array([text.upper() for text in columns["city"]], object),
        "parts": np.column_stack([columns["temp"], columns["open"]]),
    }


def bare(batch: Batch) -> list[float]:
    return [row.temp for row in batch.rows]


service = Service("demand", Model(by_row), input=Hour, output=Demand)
service.endpoint("/columns", Model(by_column), input=Hour, output=Demand)
service.endpoint("/bare", Model(bare), input=Hour)
