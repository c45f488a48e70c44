"""Rows as bytes: equal bytes, equal rows, in every process.

The bytes are those of `marshal` in its format 2, which is fixed: types are told apart (1, 1.0 and True), floats are
their eight bytes (so -0.0 is not 0.0, and a NaN is itself), and nothing depends on reference counts. Nothing is ever
read back. What marshal does not tell apart (arrays, for one, are mere bytes to it) is first made into plain values.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import marshal
import pathlib
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from pydantic import BaseModel, SecretBytes, SecretStr

from hansang.fingerprint import name_of
from hansang.nodes.cache.plain import PLAIN

FORMAT = 2
TOLD_BY_REPR = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    complex,
)
FLAT = PLAIN | {list}
MOST_SHAPES = 1024

Plan = tuple[bytes, Callable[[Any], tuple[Any, ...]], bool]


class Unkeyed(Exception):
    """A row holds something that has no bytes of its own."""


class Encoder:
    """Encodes rows; how rows of one class, or dicts of one order of names, are read is found once."""

    def __init__(self) -> None:
        self._plans: dict[Any, Plan | None] = {}

    def all(self, rows: Sequence[Any], head: bytes) -> list[bytes]:
        """Give the bytes of rows, each after the same head; see `one`."""
        plan = self._plan(rows[0]) if len(rows) > 1 and len(set(map(type, rows))) == 1 else None
        if plan is not None:
            kind, pick, inside = plan
            try:
                values = [pick(row.__dict__) for row in rows] if inside else [pick(row) for row in rows]
            except KeyError:  # dicts of other names, or a model that was made without validation
                values = []
            same = inside or not values or set(map(len, rows)) == {len(values[0])}
            if values and same and are_flat(values):
                head, dumps = head + kind, marshal.dumps
                return [head + dumps(each, FORMAT) for each in values]
        return [head + self.one(row) for row in rows]

    def one(self, row: Any) -> bytes:
        """Give a row's bytes; raises `Unkeyed` for a value that cannot be told from another."""
        plan = self._plan(row)
        if plan is not None:
            kind, pick, inside = plan
            try:
                values = pick(vars(row) if inside else row)
            except KeyError:
                return whole(row)
            if are_flat((values,)):
                return kind + marshal.dumps(values, FORMAT)
        return whole(row)

    def _plan(self, row: Any) -> Plan | None:
        kind = type(row)
        shape = tuple(row) if kind is dict else kind
        try:
            return self._plans[shape]
        except KeyError:
            if len(self._plans) >= MOST_SHAPES:
                self._plans.clear()
            plan = self._plans[shape] = plan_of(row)
            return plan


def are_flat(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Say whether all values are plain, or lists of plain ones: marshal tells these apart."""
    kinds = set(map(type, chain.from_iterable(rows)))
    if kinds <= PLAIN:
        return True
    lists = [value for row in rows for value in row if type(value) is list]
    return kinds <= FLAT and PLAIN.issuperset(map(type, chain.from_iterable(lists)))


def plan_of(row: Any) -> Plan | None:
    """Say how rows of one shape are read, quickly; None where each must be looked at."""
    if type(row) is dict:
        if not all(type(name) is str for name in row):
            return None
        names = sorted(row)
        return marshal.dumps(("dict", *names), FORMAT), picker(names), False
    if not isinstance(row, BaseModel) or is_open(row):
        return None
    names = list(type(row).model_fields)
    return marshal.dumps(("model", name_of(type(row)), *names), FORMAT), picker(names), True


def is_open(row: BaseModel) -> bool:
    """Say whether rows of a class may hold more than its fields."""
    return type(row).model_config.get("extra") == "allow" or bool(type(row).__private_attributes__)


def picker(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Give what picks these values out of a dict, as a tuple."""
    if len(names) == 1:
        name = names[0]
        return lambda values: (values[name],)
    return itemgetter(*names) if names else lambda _: ()


def whole(row: Any) -> bytes:
    """Encode any value, part by part."""
    try:
        return marshal.dumps(("whole", plain(row)), FORMAT)
    except (ValueError, RecursionError) as error:
        raise Unkeyed(f"a value that is nested too deeply, or in itself: {error}") from error


def plain(value: Any) -> Any:  # noqa: PLR0911  # one line a kind
    """Make plain values of anything; whatever is not plain becomes a tuple that begins with what it was."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is list:
        return value if PLAIN.issuperset(map(type, value)) else [plain(item) for item in value]
    if isinstance(value, Mapping):
        return ("dict" if kind is dict else name_of(kind), *pairs(value))
    if isinstance(value, tuple | list):
        return (name_of(kind), *map(plain, value))
    if isinstance(value, set | frozenset):
        return (name_of(kind), *sorted(marshal.dumps(plain(item), FORMAT) for item in value))
    if isinstance(value, np.ndarray | np.generic):
        return plain_array(value)
    if isinstance(value, BaseModel):
        inside = (vars(value), value.__pydantic_extra__, value.__pydantic_private__)
        return ("model", name_of(kind), *(plain(part) for part in inside))
    return plain_object(value, kind)


def pairs(value: Mapping[Any, Any]) -> list[tuple[bytes, Any]]:
    """Give the items of a mapping in an order that does not depend on how it was made."""
    items = [(marshal.dumps(plain(key), FORMAT), plain(item)) for key, item in value.items()]
    return sorted(items, key=itemgetter(0))


def plain_array(value: Any) -> tuple[Any, ...]:
    """Give an array's type, shape and bytes; of an array of objects, each of them."""
    if value.dtype.hasobject:
        return ("objects", repr(value.dtype), value.shape, [plain(item) for item in value.ravel().tolist()])
    return (name_of(type(value)), repr(value.dtype.descr), value.shape, value.tobytes())


def plain_object(value: Any, kind: type) -> tuple[Any, ...]:
    """Give what tells an object of a known kind from others of its kind."""
    if isinstance(value, enum.Enum):
        return ("enum", name_of(kind), value.name)
    if isinstance(value, TOLD_BY_REPR):
        return (name_of(kind), repr(value))
    if isinstance(value, SecretStr | SecretBytes):
        return ("secret", value.get_secret_value())
    if isinstance(value, bytearray | memoryview):
        return (name_of(kind), bytes(value))
    if is_dataclass(value):
        return ("dataclass", name_of(kind), *(plain(getattr(value, each.name)) for each in fields(value)))
    images = sys.modules.get("PIL.Image")
    if images is not None and isinstance(value, images.Image):
        palette = value.palette.tobytes() if value.palette is not None else b""
        return ("picture", value.mode, value.size, palette, plain(value.info.get("transparency")), value.tobytes())
    raise Unkeyed(f"a value of type {name_of(kind)}")
