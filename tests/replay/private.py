"""A service some of whose fields the record holds in another form."""

from typing import Annotated

from pydantic import BaseModel

from hansang import Service, node
from hansang.record.policy import Hash, Keep, Mask
from hansang.types import File


class Owner(BaseModel):
    name: Annotated[str, Mask(2)] = ""


class Trip(BaseModel):
    km: float
    phone: Annotated[str | None, Hash()] = None
    owner: Owner | None = None
    note: Annotated[str, Keep()] = ""
    photo: File | None = None


class Ride(BaseModel):
    minutes: float
    driver: Annotated[str, Hash()] = "Kim"


@node.each
def ride(row: Trip) -> Ride:
    return Ride(minutes=row.km * 3)


service = Service("private", ride, input=Trip, output=Ride)
