"""Classes at the top level of a module, as both sides of a wire know them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from hansang import Problem

Value = TypeVar("Value")


class Point(BaseModel):
    x: float = 0.0
    more: Any = None
    _seen: int = PrivateAttr(default=0)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Box(BaseModel, Generic[Value]):
    value: Value


IntBox = Box[int]


class Colour(enum.StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Pair:
    left: Any
    right: Any


class Teapot(Problem):
    """A problem of the user's own, made in a way of its own."""

    status = 418
    title = "I'm a teapot"

    def __init__(self, colour: str) -> None:
        super().__init__(f"it is {colour}", headers={"x-colour": colour}, retry_after=2.5)
        self.colour = colour
