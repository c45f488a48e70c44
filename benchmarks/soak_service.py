"""A model that answers, and fails on the rows that ask for it."""

from pydantic import BaseModel

from hansang import Batch, Model, Service


class Row(BaseModel):
    x: float
    fail: bool


def moody(batch: Batch) -> list[float]:
    if any(row.fail for row in batch.rows):
        raise ValueError("a row asked the model to fail")
    return [row.x * 2 for row in batch.rows]


service = Service("soak", Model(moody), input=Row)
