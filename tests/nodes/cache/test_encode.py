"""Equal bytes, equal rows: in every process, and for rows of any kind."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import struct
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from hansang.nodes.cache.encode import Encoder, Unkeyed

HEAD = b"0123456789abcdef"


def encoded(row: Any) -> bytes:
    """Encode a row alone and among others of its kind: both must give the same bytes."""
    alone = Encoder().one(row)
    assert Encoder().all([row, row], HEAD) == [HEAD + alone] * 2
    return alone


class Trip(BaseModel):
    distance: float
    city: str = "seoul"


class Other(BaseModel):
    distance: float
    city: str = "seoul"


class Open(BaseModel, extra="allow"):
    distance: float


class Hidden(BaseModel):
    distance: float
    _note: str = PrivateAttr("")


class Left(BaseModel):
    distance: float
    secret: SecretStr = SecretStr("")
    shy: int = Field(default=0, exclude=True)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Spot:
    x: int


def hidden(note: str) -> Hidden:
    row = Hidden(distance=1.0)
    row._note = note
    return row


DIFFERENT: list[list[Any]] = [
    [{"x": 1}, {"x": 1.0}, {"x": True}, {"x": "1"}, {"x": b"1"}, {"x": None}, {"y": 1}, {}, {"x": [1]}, {"x": (1,)}],
    [{"x": 0.0}, {"x": -0.0}, {"x": 5e-324}, {"x": math.nan}, {"x": math.inf}, {"x": -math.inf}, {"x": 0}],
    [{1: "a"}, {1.0: "a"}, {True: "a"}, {"1": "a"}, {(1,): "a"}],
    [{"x": [1, 2]}, {"x": [2, 1]}, {"x": [1.0, 2.0]}, {"x": [[1, 2]]}, {"x": [[1], [2]]}, {"x": {"1": 2}}],
    [Trip(distance=1), Other(distance=1), {"distance": 1.0, "city": "seoul"}, Trip(distance=2), Trip(distance=-1)],
    [Open(distance=1), Open.model_validate({"distance": 1, "x": 2}), Open.model_validate({"distance": 1, "x": 3})],
    [hidden("a"), hidden("b")],
    [Left(distance=1), Left(distance=1, shy=1), Left(distance=1, secret=SecretStr("a"))],
    [np.zeros(4), np.zeros((2, 2)), np.zeros(4, "f4"), np.zeros(4, "i8"), np.zeros(4, ">f8"), np.ones(4), [0.0] * 4],
    [np.array([1, "a"], object), np.array([1, "b"], object), np.array([1.0, "a"], object)],
    [{"x": np.float64(1.0)}, {"x": np.float32(1.0)}, {"x": np.int64(1)}, {"x": np.bool_(True)}, {"x": 1.0}],
    [np.array(["2026-01-01"], "M8[D]"), np.array(["2026-01-01"], "M8[s]")],
    [{"x": Colour.RED}, {"x": Colour.BLUE}, {"x": 1}],
    [Point(1, 2), (1, 2), [1, 2], Point(2, 1)],
    [{1, 2}, frozenset({1, 2}), {1, 3}],
    [Spot(1), Spot(2), {"x": 1}],
    [datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)],
    [decimal.Decimal("1.0"), decimal.Decimal("1.00"), 1.0],
    ["a", b"a", bytearray(b"a"), "A", ["a"], ("a",)],
]


@pytest.mark.parametrize("rows", DIFFERENT, ids=lambda rows: str(rows[0])[:30])
def test_different_rows_have_different_bytes(rows: list[Any]) -> None:
    assert len({encoded(row) for row in rows}) == len(rows)


def test_a_dict_has_the_same_bytes_in_any_order() -> None:
    first = {"a": 1, "b": [1.5], "c": {"x": 1, "y": 2}}
    second = {"c": {"y": 2, "x": 1}, "b": [1.5], "a": 1}
    assert encoded(first) == encoded(second)
    assert encoded({"a": 1, "b": 2}) == encoded({"b": 2, "a": 1}) != encoded({"a": 2, "b": 1})


def test_rows_of_one_batch_in_different_orders_are_each_read_by_name() -> None:
    encode = Encoder()
    rows: list[dict[str, int]] = [
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {"b": 1, "a": 2},
        {"a": 1},
        {"a": 1, "b": 2, "c": 3},
    ]
    together = encode.all(rows, b"")
    assert together == [Encoder().one(row) for row in rows]
    assert len(set(together)) == 4


def test_a_model_is_read_by_its_fields_whatever_order_they_were_set_in() -> None:
    built = Trip.model_construct()
    built.__dict__.clear()
    built.__dict__.update(city="busan", distance=2.0)
    assert encoded(built) == encoded(Trip(distance=2, city="busan"))


def test_a_model_made_without_validation_still_has_bytes() -> None:
    assert encoded(Trip.model_construct(city="x")) != encoded(Trip.model_construct(distance=1.0))
    assert encoded(Trip.model_construct(distance=np.float64(1.0), city="x")) != encoded(Trip(distance=1, city="x"))


def test_nan_is_itself_by_its_bits() -> None:
    other = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    assert encoded({"x": math.nan}) == encoded({"x": float("nan")})
    assert encoded({"x": math.nan}) != encoded({"x": other})


def test_arrays_are_read_by_their_values_not_by_their_memory() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    assert encoded(grid.T) == encoded(grid.T.copy())
    assert encoded(grid[::2]) == encoded(grid[::2].copy())
    assert encoded(grid.T) != encoded(grid)


def test_pictures_are_read_by_their_pixels_not_by_what_their_upload_was() -> None:
    image = pytest.importorskip("PIL.Image")
    one, other = image.new("RGB", (4, 3), "red"), image.new("RGB", (4, 3), "red")
    one.info["hansang"] = other.info["hansang"] = {"sha256": "ab"}
    assert encoded({"image": one}) == encoded({"image": other})
    half = one.crop((0, 0, 2, 3))
    assert half.info == one.info
    other.putpixel((0, 0), (255, 0, 1))
    kinds = [
        one,
        other,
        half,
        image.new("RGB", (3, 4), "red"),
        image.new("RGBA", (4, 3), "red"),
        image.new("L", (4, 3)),
    ]
    assert len({encoded({"image": each}) for each in kinds}) == len(kinds)


@pytest.mark.parametrize("value", [object(), lambda: 0, iter([])], ids=["object", "function", "iterator"])
def test_what_cannot_be_told_from_another_has_no_bytes(value: object) -> None:
    with pytest.raises(Unkeyed, match="a value of type"):
        Encoder().one({"x": value})


def test_a_row_that_holds_itself_has_no_bytes() -> None:
    row: dict[str, Any] = {}
    row["row"] = row
    with pytest.raises(Unkeyed, match="nested too deeply, or in itself"):
        Encoder().one(row)


def test_the_bytes_are_the_same_in_a_process_with_another_hash_seed() -> None:
    rows = [{"b": {"x", "y", "z"}, "a": [1.5, None]}, {"n": -0.0, "deep": {"k": (1, 2)}}]
    code = (
        "from hansang.nodes.cache.encode import Encoder\n"
        "rows = [{'a': [1.5, None], 'b': {'z', 'y', 'x'}}, {'deep': {'k': (1, 2)}, 'n': -0.0}]\n"
        "print([Encoder().one(row).hex() for row in rows])"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str([Encoder().one(row).hex() for row in rows])


leaves = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, 2.0]) | st.text("ab", max_size=2)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2)
    ),
    max_leaves=4,
)


def told(value: Any) -> str:
    """Write a value so that exactly the same ones are the same, dicts in any order."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{told(key)}:{told(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(told, value))})"
    return repr(value)


@given(one=values, other=values)
def test_bytes_are_equal_exactly_when_rows_are(one: Any, other: Any) -> None:
    assert (Encoder().one(one) == Encoder().one(other)) == (told(one) == told(other))


@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), min_size=2, max_size=5))
def test_rows_together_have_the_bytes_that_each_has_alone(rows: list[dict[str, Any]]) -> None:
    assert Encoder().all(rows, HEAD) == [HEAD + Encoder().one(row) for row in rows]


def test_an_ordered_dict_is_not_taken_for_a_dict() -> None:
    assert encoded(OrderedDict(a=1)) != encoded({"a": 1})
