"""Values that are plain all through: nothing but Python's own numbers, text, bytes, lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def is_plain(values: Iterable[Any]) -> bool:
    """Say whether all of these are plain; subclasses, numpy's scalars and arrays are not."""
    if PLAIN.issuperset(map(type, values)):
        return True
    for value in values:
        kind = type(value)
        if kind is list or kind is tuple:
            if not is_plain(value):
                return False
        elif kind is dict:
            if not (PLAIN.issuperset(map(type, value)) and is_plain(value.values())):
                return False
        elif kind not in PLAIN:
            return False
    return True
