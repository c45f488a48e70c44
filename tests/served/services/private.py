"""A service whose rows are nobody's business: every kind of field, of policy and of failure."""

import time
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from hansang import Batch, Model, Service, node, parallel, shadow, split, staged
from hansang.record.policy import Drop, Hash, Mask


class Friend(BaseModel):
    name: Annotated[str, Drop()]
    city: str = ""


class Person(BaseModel):
    user_id: Annotated[str, Hash()]
    name: Annotated[str, Drop()]
    city: str
    phone: Annotated[str | None, Mask(2)] = None
    nick: Annotated[str, Hash()] | None = Field(None, alias="nickName")
    friends: list[Friend] = []
    words: dict[str, Annotated[str, Mask(0)]] = {}
    letter: str = Field("", json_schema_extra={"x-hansang-policy": "drop"})
    by_setting: str = ""
    do: str = ""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.startswith("refused"):
            raise ValueError(f"nobody is called {name}")
        if name.startswith("broken"):
            raise RuntimeError(f"cannot read {name}")
        return name


class Verdict(BaseModel):
    who: Annotated[str, Hash()]
    memo: Annotated[str, Drop()]
    score: float


def judge(batch: Batch) -> list[Any]:
    for row in batch.rows:
        if row.do == "raise":
            raise ValueError(f"no verdict on {row.name}, {row!r}")
    return [{"who": row.user_id, "memo": f"{row.name} is fine", "score": len(row.city)} for row in batch.rows]


@node
def late(batch: Batch) -> list[Any]:
    time.sleep(0.01)
    return judge(batch)


@node
def noted(batch: Batch) -> list[Any]:
    for row, call in zip(batch.rows, batch.calls, strict=True):
        call.tag("name", row.name)
        call.tag("mood", row.name)
        call.tag("city", row.city)
    return batch.rows


def surname(person: Person) -> str:
    return person.name


first, second = Model(judge, "first"), Model(judge, "second")
service = Service("private", split({first: 1, second: 1}, by="user_id"), input=Person, output=Verdict)
types: dict[str, Any] = {"input": Person, "output": Verdict}
service.endpoint("/noted", noted >> Model(judge, "noted"), **types)
service.endpoint("/surname", split({first: 1, second: 1}, by=surname, name="surname"), **types)
service.endpoint("/city", split({first: 1, second: 1}, by="city", name="city"), **types)
service.endpoint("/shadow", shadow(first, late), **types)
service.endpoint("/staged", staged(first, late), **types)
service.endpoint("/parts", parallel(a=first, b=second), input=Person)
