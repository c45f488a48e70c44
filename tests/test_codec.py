"""Reading rows of every kind of field."""

from __future__ import annotations

import enum

import pytest
from pydantic import BaseModel

from hansang.codec import Codec
from hansang.errors import InvalidRow


class Size(enum.Enum):
    SMALL = "s"
    ENDLESS = float("inf")


class Order(BaseModel):
    size: Size
    amount: float


def test_a_row_with_a_member_of_an_enum_is_read() -> None:
    codec = Codec(Order, None)
    assert codec.one(b'{"size": "s", "amount": 1.5}') == Order(size=Size.SMALL, amount=1.5)
    with pytest.raises(InvalidRow):
        codec.one(b'{"size": "s", "amount": 1e999}')
