"""What goes over the wire comes out the same: type by type, bit by bit."""

from __future__ import annotations

import datetime
import json
import math
import struct
import sys
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from hansang.errors import InvalidRow, ModelFailed, Problem, WrongRows
from hansang.peers.messages import written
from hansang.peers.values import WireError
from hansang.peers.wire import read
from tests.peers.shapes import Box, Colour, IntBox, Open, Pair, Point, Teapot


def sent(value: Any) -> Any:
    return read(written(lambda packer: {"value": packer.pack(value)}))["value"]


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911  # a way to compare for each type
    """Compare to the last bit, types and order of keys included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return all(map(same, one.ravel(), other.ravel())) if one.dtype.hasobject else one.tobytes() == other.tobytes()
    if isinstance(one, np.generic):
        return bool(one.dtype == other.dtype and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(max_size=40)
)
arrays = npst.arrays(
    st.one_of(npst.scalar_dtypes(), npst.unicode_string_dtypes(), npst.byte_string_dtypes()),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
values = st.recursive(
    plain | arrays,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.just("~")), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(values)
def test_whatever_is_sent_comes_out_the_same(value: Any) -> None:
    assert same(sent(value), value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -0.0,
        struct.unpack("d", b"\x01\0\0\0\0\0\xf8\x7f")[0],
        -math.inf,
        5e-324,
        2**70,
        {"~": ["t", []]},
        "\ud800",
        b"",
        bytearray(b"ab"),
        {1, 2},
        [0.5, math.nan, -0.0, math.inf] * 8,
        [1, -(2**63), 2**63 - 1] * 8,
        [2**63] * 20,
        [1, 2.0] * 20,
        [True, False] * 20,
        [np.arange(3)] * 20,
        [np.array(1)] * 20,
        [np.arange(3), np.arange(4)] * 20,
        [np.float64(1.5)] * 20,
        frozenset({(1, "a")}),
        Colour.RED,
        Pair((1, 2), None),
        datetime.datetime(2026, 5, 1, 12, 30, 1, 5, tzinfo=datetime.UTC),
        datetime.date(2026, 5, 1),
        datetime.time(1, 2, 3),
        datetime.timedelta(-3, 5, 7),
        Decimal("1.10"),
        uuid.UUID(int=5),
        np.float16(1.1),
        np.datetime64("2026-05-01T10:00"),
        np.str_("한상"),
        np.array([{"a": (1,)}, None, [2]], object),
        np.zeros((2, 0, 3), np.int8),
        np.array([(1, 2.5)], [("a", "<i2"), ("b", ">f8", (2,))]),
    ],
    ids=repr,
)
def test_values_with_corners(value: Any) -> None:
    assert same(sent(value), value)


def test_an_array_can_be_written_to_and_keeps_the_order_of_its_axes() -> None:
    turned = np.arange(6.0).reshape(2, 3).T
    got = sent(turned)
    assert got.flags.f_contiguous
    assert same(got, turned)
    got[0, 0] = 5
    assert same(sent(np.arange(10)[::3]), np.arange(10)[::3].copy())


def test_a_model_comes_with_what_was_set_and_what_is_private() -> None:
    point = Point(x=1.5)
    point._seen = 7
    got = sent(point)
    assert (type(got), got, got._seen, got.model_fields_set) == (Point, point, 7, {"x"})
    assert sent(Point.model_construct(x="not checked")).x == "not checked"
    assert sent(Open.model_validate({"a": [1, (2,)]})).model_extra == {"a": [1, (2,)]}
    assert type(sent(IntBox(value=3))) is Box[int]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "I;16", "F", "CMYK"])
def test_a_picture_is_its_pixels(mode: str) -> None:
    picture = Image.effect_noise((13, 7), 50).convert("L").convert(mode if mode != "I;16" else "I").convert(mode)
    picture.info["hansang"] = {"sha256": "ab", "bytes": 5}
    picture.info["other"] = object()
    got = sent(picture)
    assert (got.mode, got.size, got.tobytes()) == (picture.mode, picture.size, picture.tobytes())
    assert got.info == {"hansang": {"sha256": "ab", "bytes": 5}}


def test_a_picture_with_a_palette_keeps_its_colours() -> None:
    picture = Image.linear_gradient("L").convert("RGB").quantize(8)
    got = sent(picture)
    assert got.mode == "P"
    assert got.convert("RGB").tobytes() == picture.convert("RGB").tobytes()


def test_a_problem_comes_as_the_same_problem() -> None:
    fault = {"loc": ["x"], "type": "missing", "msg": "Field required"}
    got = sent(InvalidRow("1 fault", errors=[fault]))
    assert (type(got), got.detail, got.errors, str(got)) == (InvalidRow, "1 fault", [fault], "1 fault")
    teapot = sent(Teapot("blue"))
    assert (type(teapot), teapot.colour, teapot.detail) == (Teapot, "blue", "it is blue")
    assert (teapot.headers, teapot.retry_after) == ({"x-colour": "blue"}, 2.5)
    assert type(sent(WrongRows("3 for 4"))) is WrongRows


def test_a_problem_of_a_class_that_only_the_sender_has_keeps_its_status_title_and_privacy() -> None:
    class Local(Problem):
        status = 409
        title = "Taken"
        public = False

    got = sent(Local("by whom"))
    assert (got.status, got.title, got.public, got.detail) == (409, "Taken", False, "by whom")
    assert isinstance(got, Problem)


def test_any_other_exception_stays_private() -> None:
    got = sent(ValueError("the secret"))
    assert (type(got), str(got), got.public) == (ModelFailed, "the secret", False)


def test_what_would_not_be_the_same_is_refused_by_name() -> None:
    class Inside(Point):
        pass

    with pytest.raises(WireError, match=r"the class .*Inside of .* define it at the top level"):
        sent(Inside())
    with pytest.raises(WireError, match="a generator cannot be sent"):
        sent(x for x in "a")
    with pytest.raises(WireError, match="a object cannot be sent"):
        sent([object()])


def message(value: Any) -> bytes:
    text = json.dumps({"value": value, "buffers": []}).encode()
    return b"HSB\x01" + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    "tagged",
    [
        ["m", "os", "system", {}],
        ["m", "json", "JSONDecoder", {}],
        ["c", "subprocess", "Popen", {"args": ["true"]}],
        ["c", "antigravity", "Anything", {}],
        ["u", "signal", "SIGTERM", "x"],
        ["e", "", "X", [200, "", "", True], ["", None, None, {}], {}],
        ["a", "<f8", [1000000], 0, 0],
        ["a", "|O", [1], 0, 0],
        ["q"],
        [],
        "t",
    ],
    ids=str,
)
def test_nothing_is_imported_or_called_that_is_not_a_value(tagged: Any) -> None:
    with pytest.raises(WireError):
        read(message({"~": tagged}))
    assert "antigravity" not in sys.modules


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"HSB\x01\0\0\0\x10" + rest))
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read(body)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_a_message_that_was_changed_is_read_or_refused_but_nothing_else(place: int, noise: bytes) -> None:
    whole = written(lambda packer: {"value": packer.pack({"a": np.arange(5), "b": (1, b"xy", Point(x=2))})})
    place %= len(whole)
    try:
        read(whole[:place] + noise + whole[place + len(noise) :])
    except WireError:
        pass


def test_another_version_says_what_to_do() -> None:
    with pytest.raises(WireError, match="version 9 of the wire format, this one 1; run the same hansang"):
        read(b"HSB\x09\0\0\0\0")
