"""A service some of whose fields the record holds in another form."""

from pydantic import BaseModel, Field

from hansang import Service, node
from hansang.types import File

POLICY = "x-hansang-policy"


class Owner(BaseModel):
    name: str = Field(default="", json_schema_extra={POLICY: "mask:2"})


class Trip(BaseModel):
    km: float
    phone: str | None = Field(default=None, json_schema_extra={POLICY: "hash"})
    owner: Owner | None = None
    note: str = Field(default="", json_schema_extra={POLICY: "keep"})
    photo: File | None = None


class Ride(BaseModel):
    minutes: float
    driver: str = Field(default="Kim", json_schema_extra={POLICY: "hash"})


@node.each
def ride(row: Trip) -> Ride:
    return Ride(minutes=row.km * 3)


service = Service("private", ride, input=Trip, output=Ride)
