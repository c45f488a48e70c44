"""What keeps rows together: the key of each row as text, and what stands in for it where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from hansang.batch import Batch
from hansang.call import Call
from hansang.nodes.rules.source import Source, calls_of
from hansang.types import reference

Key = str | None
TEXT = {str}
NUMBERS = {float}


def keys_of(source: Source | None, batch: Batch) -> tuple[list[Key], dict[int, Exception]]:
    """Give the key of each row, None where there is none, and the rows whose key cannot be found, with the reason."""
    if source is None:
        return [None] * batch.size, {}
    values = source.values(batch)
    kinds = set(map(type, values))
    if kinds == TEXT and "" not in values:
        return values, {}
    if kinds == NUMBERS and not any(map(math.isnan, values)):
        return [str(int(value)) if value.is_integer() else repr(value) for value in values], {}
    keys: list[Key] = []
    problems: dict[int, Exception] = {}
    for place, value in enumerate(values):
        if isinstance(value, Exception):
            problems[place] = value
            keys.append(None)
        else:
            keys.append((value or None) if type(value) is str else key_text(value))
    return keys, problems


def key_text(value: Any) -> Key:
    """Write a key as text, so that 7, 7.0 and "7" are one; None, "" and NaN are no key."""
    if isinstance(value, Enum):
        return key_text(value.value)
    if isinstance(value, np.generic):
        return key_text(value.item())
    if isinstance(value, float):
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return None if value is None else str(value) or None


def stand_ins(keys: list[Key], batch: Batch) -> list[str]:
    """Give every row without a key the id of its prediction, or where it has none what is in the row."""
    calls = calls_of(batch)
    return [
        key if key is not None else row_id(calls[place]) if calls and calls[place].id else content(batch.rows[place])
        for place, key in enumerate(keys)
    ]


def row_id(call: Call) -> str:
    """Name one row of all that ever were; the first of a request by the prediction's id alone."""
    return f"{call.id}/{call.row}" if call.row else call.id


def content(row: Any) -> str:
    """Name a row by what is in it, the same in every process; an upload by its hash."""
    plain = ordered(row.model_dump() if isinstance(row, BaseModel) else row)
    written = to_json(plain, fallback=plain_value, inf_nan_mode="constants", bytes_mode="base64")
    return blake2b(written, digest_size=16).hexdigest()


def ordered(value: Any) -> Any:
    """Bring the names and the sets in a value into an order of their own, whatever order they came in."""
    if isinstance(value, set | frozenset):
        return sorted(map(ordered, value), key=repr)
    if isinstance(value, Mapping):
        return {str(key): ordered(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    return [ordered(item) for item in value] if isinstance(value, list | tuple) else value


def plain_value(value: Any) -> Any:
    """Give what JSON can write of a value that it does not know."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else reference(value)
