"""A service that gets files, pictures and large bodies."""

from typing import Annotated, Any

from pydantic import BaseModel

from hansang import Batch, Model, Service, shadow
from hansang.record.policy import Drop
from hansang.types import File, Image


class Letter(BaseModel):
    text: str
    city: str = ""
    words: list[str] = []


class Upload(BaseModel):
    data: File
    secret: Annotated[File | None, Drop()] = None


class Photo(BaseModel):
    image: Image


def read(batch: Batch) -> list[Any]:
    return [{"letters": len(row.text)} for row in batch.rows]


def double(batch: Batch) -> list[Any]:
    return [{"text": 2 * row.text, "more": 1} for row in batch.rows]


service = Service("gallery", Model(read), input=Letter)
service.endpoint("/double", shadow(Model(read, "read"), Model(double, "double")), input=Letter)
service.endpoint("/echo", Model(double, "echo"), input=Letter)
service.endpoint("/file", Model(lambda batch: [{"bytes": len(row.data)} for row in batch.rows], "file"), input=Upload)
service.endpoint("/photo", Model(lambda batch: [{"width": row.image.width} for row in batch.rows], "p"), input=Photo)
