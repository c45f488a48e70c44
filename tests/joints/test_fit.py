"""What can fit passes, and what cannot is named with its place and both types."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hansang.errors import InvalidRow
from hansang.joints.fit import Fit, Misfit, Reading, in_words
from hansang.types import Image


class Hour(BaseModel):
    hour: int
    temp: float = 0.5


class Wide(BaseModel):
    hour: float
    temp: float
    wind: float


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    hour: int


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hour: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    hour: int


class Aliased(BaseModel):
    hour: int = Field(alias="Hour")


class Prepared(BaseModel):
    hour: int

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return {"hour": value}


class Cleaned(BaseModel):
    hour: int

    @field_validator("hour", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return int(value)


class Keyed(TypedDict):
    hour: int
    temp: NotRequired[float]


class Texts(TypedDict):
    hour: str


@dataclass
class Held:
    hour: int
    temp: float = 0.0


class Pair(NamedTuple):
    hour: int
    temp: float


class Color(Enum):
    RED = "red"


class Own:
    pass


class Child(Own):
    pass


T = TypeVar("T")
Id = NewType("Id", int)

FIT = [
    (Keyed, Keyed),
    (Texts | None, Texts),
    (Hour, Hour),
    (list[Keyed], list[Keyed]),
    (int, int),
    (int, float),
    (bool, int),
    (np.float32, float),
    (np.int64, int),
    (float, np.float64),
    (int, Any),
    (Any, int),
    (object, int),
    (int, object),
    ("somewhere", int),
    (int, T),
    (Id, float),
    (int | str, str),
    (int, int | None),
    (int | None, int),
    (int | None, str | None),
    (Hour | InvalidRow, Hour),
    (InvalidRow, Hour),
    (Child, Own),
    (Own, Child),
    (Hour, Held),
    (Held, Hour),
    (Hour, str | Held),
    (Open, Wide),
    (Keyed, dict[str, float]),
    (Keyed, Mapping[str, Any]),
    (Keyed, dict),
    (dict, Keyed),
    (dict[str, Any], Keyed),
    (dict[str, int], Keyed),
    (dict[str, int], dict[str, float]),
    (list[int], Sequence[float]),
    (np.ndarray, list[float]),
    (list[float], np.ndarray),
    (tuple[int, int], list[int]),
    (tuple[int, ...], tuple[float, float]),
    (tuple[int, str], tuple[float, str]),
    (Pair, tuple[int, float]),
    (Literal["a", "b"], Literal["b", "c"]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (Color, Color),
    (Annotated[int, Field(ge=0)], float),
    (Annotated[str, AfterValidator(len)], int),
    (Image, np.ndarray),
    (str, Sequence[str]),
    (datetime.datetime, datetime.date),
]

MISFIT = [
    (str, int, Misfit((), "text", "integer")),
    (float, int, Misfit((), "number", "integer")),
    (int, bool, Misfit((), "integer", "boolean")),
    (str | bytes, int | float, Misfit((), "text or bytes", "integer or number")),
    (Own, Color, Misfit((), "Own", "Color")),
    (Hour, str, Misfit((), "Hour", "text")),
    (str, Hour, Misfit((), "text", "Hour")),
    (list[int], Hour, Misfit((), "list of integer", "Hour")),
    (Hour, Wide, Misfit((), "hour, temp", "'wind' (number)", lacks=("wind",))),
    (Texts, Keyed, Misfit(("hour",), "text", "integer")),
    (Texts, dict[str, float], Misfit(("hour",), "text", "number")),
    (dict[str, str], Keyed, Misfit(("hour",), "text", "integer")),
    (dict[str, str], dict[str, float], Misfit((), "dict of text", "dict of number")),
    (Hour, dict[str, Any], Misfit((), "Hour (an object)", "dict")),
    (Hour, Keyed, Misfit((), "Hour (an object)", "Keyed (a dict)")),
    (Keyed, Hour, Misfit((), "Keyed (a dict)", "Hour (an object)")),
    (dict, Hour, Misfit((), "dict", "Hour (an object)")),
    (list[str], list[float], Misfit((), "list of text", "list of number")),
    (tuple[int, int], tuple[int, int, int], Misfit((), "tuple of integer", "tuple of integer")),
    (Literal["a"], Literal["b", "c"], Misfit((), "'a'", "'b' or 'c'")),
    (Literal[1], str, Misfit((), "1", "text")),
    (int, list[int], Misfit((), "integer", "list of integer")),
    (Own, np.ndarray, Misfit((), "Own", "array")),
]


@pytest.mark.parametrize(("gives", "takes"), FIT, ids=str)
def test_what_may_fit_is_no_misfit(gives: Any, takes: Any) -> None:
    assert Fit().misfit(gives, takes) is None


@pytest.mark.parametrize(("gives", "takes", "misfit"), MISFIT, ids=str)
def test_what_cannot_fit_is_named_with_its_place_and_both_types(gives: Any, takes: Any, misfit: Misfit) -> None:
    assert Fit().misfit(gives, takes) == misfit


@pytest.mark.parametrize(
    ("reading", "gives", "takes"),
    [
        ("model", Hour, Keyed),
        ("model", np.ndarray, Keyed),
        ("model", list[float], Keyed),
        ("model", bool, float),
        ("model", str, datetime.datetime),
        ("model", np.ndarray, float),
        ("validated", Keyed, Hour),
        ("validated", Hour, Keyed),
        ("validated", str, int),
        ("validated", float, int),
        ("validated", str, Color),
        ("validated", list[int], tuple[int, ...]),
        ("validated", dict[str, Any], Closed),
        ("validated", Keyed, Closed),
        ("validated", dict[str, str], Aliased),
        ("validated", str, Prepared),
        ("validated", Texts, Cleaned),
        ("validated", list[int], Annotated[str, BeforeValidator(str)]),
    ],
    ids=str,
)
def test_a_model_reads_by_names_and_validation_converts(reading: Reading, gives: Any, takes: Any) -> None:
    assert Fit(reading).misfit(gives, takes) is None


@pytest.mark.parametrize(
    ("reading", "gives", "takes", "misfit"),
    [
        ("model", Texts, Keyed, Misfit(("hour",), "text", "integer")),
        ("model", Hour, Wide, Misfit((), "hour, temp", "'wind' (number)", lacks=("wind",))),
        ("model", str, Keyed, Misfit((), "text", "Keyed")),
        ("validated", Wide, Closed, Misfit(("temp",), "number", "")),
        ("validated", Hour, Closed, Misfit(("temp",), "number", "")),
        ("validated", Texts, Strict, Misfit(("hour",), "text", "integer")),
        ("validated", int, str, Misfit((), "integer", "text")),
        ("validated", list[int], Hour, Misfit((), "list of integer", "Hour")),
        ("validated", str, list[str], Misfit((), "text", "list of text")),
    ],
    ids=str,
)
def test_a_model_and_validation_refuse_what_they_cannot_read(
    reading: Reading, gives: Any, takes: Any, misfit: Misfit | None
) -> None:
    assert Fit(reading).misfit(gives, takes) == misfit


def test_a_nested_field_is_named_with_its_whole_place() -> None:
    @dataclasses.dataclass
    class Inner:
        x: str

    class Outer(BaseModel):
        inner: Inner

    class Other(BaseModel):
        inner: Hour

    assert Fit().misfit(Outer, Other) == Misfit(("inner",), "x", "'hour' (integer)", lacks=("hour",))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int | None, "integer or null"),
        (list[dict[str, float]], "list of dict of number"),
        (np.ndarray, "array"),
        (None, "null"),
        (Literal["a"], "'a'"),
        (Image, "anything"),
        (Own, "Own"),
    ],
    ids=str,
)
def test_types_are_said_in_words(kind: Any, words: str) -> None:
    assert in_words(kind) == words
