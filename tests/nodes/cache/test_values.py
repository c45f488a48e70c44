"""Entries come back from a store exactly, or not at all."""

from __future__ import annotations

import datetime
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang.errors import InvalidRow, ModelFailed, Problem
from hansang.nodes.cache.entry import Entry, Unkept, frozen, outcome_of
from hansang.nodes.cache.values import Unreadable, packed, unpacked
from hansang.nodes.cache.ways import Steps

WAY = ("faces", "3", "b")


class Box(BaseModel):
    corner: tuple[int, int]
    score: float = 1.0


class Face(BaseModel):
    age: int
    boxes: list[Box]
    note: str | None = None


class Own(Problem):
    status = 422


def entry(outcome: Any) -> Entry:
    return frozen(outcome, WAY, math.inf)


def back(outcome: Any) -> Any:
    return outcome_of(unpacked(packed(entry(outcome), "k"), "k", Steps("cached")))


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911  # one line a kind
    """Say whether two values are the same: types, bits of floats, order of dicts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and type(one) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, np.ndarray | np.generic):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, BaseModel):
        return same(vars(one), vars(other)) and one.model_fields_set == other.model_fields_set
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(*keys) and same(*items)
            for keys, items in zip(
                zip(one, other, strict=True), zip(one.values(), other.values(), strict=True), strict=True
            )
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans()
leaves = (
    st.none()
    | numbers
    | st.text()
    | st.binary(max_size=8)
    | numbers.map(np.float64)
    | st.floats(width=32).map(np.float32)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.integers() | st.booleans() | st.tuples(st.text(max_size=2)), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_a_value_comes_back_exactly(value: Any) -> None:
    assert same(back(value), value)


EXACT = [
    -0.0,
    5e-324,
    0.1 + 0.2,
    struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0],
    2**200,
    "\ud800 \x00 서울",
    {"float": 1, "mark": None},
    {1: "a", "1": "b", (1,): "c"},
    [],
    (),
    {},
    np.arange(6, dtype=">i2").reshape(2, 3),
    np.array(7.5),
    np.zeros((0, 3), np.float16),
    np.array(["ab", "c"]),
    np.array(["2026-01-01"], "M8[D]"),
    np.bool_(True),
    np.complex64(1 + 2j),
    np.datetime64("2026-01-01T00:00"),
    Face(age=3, boxes=[Box(corner=(1, 2)), Box(corner=(3, 4), score=0.5)]),
    [Box(corner=(1, 2)), {"x": np.float32(0.1)}],
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: repr(value)[:30].encode("ascii", "replace").decode())
def test_what_is_hard_comes_back_exactly(value: Any) -> None:
    assert same(back(value), value)


def test_an_array_that_came_back_can_be_written_to() -> None:
    back(np.zeros(3))[0] = 1


def test_models_that_came_back_are_validated_ones_in_all_but_name() -> None:
    face = back(Face(age=3, boxes=[]))
    face.boxes.append(Box(corner=(1, 2)))
    assert face.model_dump() == {"age": 3, "boxes": [{"corner": (1, 2), "score": 1.0}], "note": None}
    assert face == Face(age=3, boxes=[Box(corner=(1, 2))])


def local_model() -> BaseModel:
    class Local(BaseModel):
        x: int = 1

    return Local()


class Loose(BaseModel, extra="allow"):
    x: int


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (datetime.date(2026, 1, 1), "a datetime.date has no exact form"),
        ({1, 2}, "a builtins.set has no exact form"),
        ([Text("a")], "Text has no exact form"),
        (np.array([object()]), "of object has no exact form"),
        (np.zeros(2, [("a", "i4")]), "has no exact form"),
        (local_model(), "is not a class that another process could find"),
        (Loose.model_validate({"x": 1, "y": 2}), "holds more than its fields"),
        (Own("no"), "Own has no exact form"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_come_back_exactly_is_not_written(value: Any, why: str) -> None:
    with pytest.raises(Unkept, match=why):
        packed(entry(value), "k")


@pytest.mark.parametrize("error", [InvalidRow("no", errors=[{"loc": ["x", 1], "type": "t"}]), ModelFailed("m: broken")])
def test_errors_come_back_as_they_were(error: Problem) -> None:
    found = back(error)
    assert type(found) is type(error)
    assert (found.detail, found.errors, found.retry_after, found.headers) == (error.detail, error.errors, None, {})


def test_what_answered_comes_back_with_the_answer_and_rows_share_it() -> None:
    steps = Steps("cached")
    one, other = (unpacked(packed(entry(value), "k"), "k", steps) for value in (1, 2))
    assert one[3] == WAY
    assert one[3] is other[3]


GOOD = {"mark": "k", "way": ["faces", "3", ""], "value": 1}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x80\x04K\x01.",
        b"[]",
        b"{}",
        json.dumps({**GOOD, "mark": "another"}).encode(),
        json.dumps({**GOOD, "way": ["faces"]}).encode(),
        json.dumps({**GOOD, "value": {"unknown": 1}}).encode(),
        json.dumps({**GOOD, "value": {"model": ["os", "system", {}, []]}}).encode(),
        json.dumps({**GOOD, "value": {"model": ["not.imported", "Face", {}, []]}}).encode(),
        json.dumps({**GOOD, "value": {"model": [__name__, "Face", {"age": 3}, []]}}).encode(),
        json.dumps({**GOOD, "value": {"array": ["|O", [1], "AAAA"]}}).encode(),
        json.dumps({**GOOD, "value": {"array": ["<f8", [2], "AAAA"]}}).encode(),
        json.dumps({**GOOD, "value": {"a": 1, "b": 2}}).encode(),
        json.dumps({"mark": "k", "way": ["", "", ""], "error": ["HansangError", "x", None, None, {}]}).encode(),
    ],
)
def test_bytes_that_are_no_entry_of_this_key_are_unreadable(document: bytes) -> None:
    assert outcome_of(unpacked(json.dumps(GOOD).encode(), "k", Steps("cached"))) == 1
    with pytest.raises(Unreadable):
        unpacked(document, "k", Steps("cached"))
