"""What a cache keeps of a row: its outcome, out of reach of whoever changes what he got, and what answered it."""

from __future__ import annotations

import copy
import marshal
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pydantic import BaseModel

from hansang.errors import Problem
from hansang.nodes.cache.plain import PLAIN, is_plain
from hansang.nodes.cache.ways import Way

LEADERS_OWN = frozenset({408, 429, 499, 503, 504})
NATIVE = 4

dumps = marshal.dumps
getsizeof = sys.getsizeof
FLOAT = getsizeof(1.0)

Entry = tuple[Any, int, int, Way, float]
"""What is held, how a hit gets a copy of its own of it (see `THAWS`), the bytes that it takes, the way that it came by,
and until when it is good, on the cache's clock. A bare tuple, and nothing in it that the garbage collector must look
at, if the outcome is plain: thousands are made a second, and hundreds of thousands are kept."""


class Unkept(Exception):
    """An outcome cannot be kept."""


def outcome_of(entry: Entry) -> Any:
    """Give the outcome, for one row to keep."""
    return THAWS[entry[1]](entry[0]) if entry[1] else entry[0]


def all_frozen(outcomes: Sequence[Any], way: Way, expires: float) -> list[Entry] | None:
    """Make entries of outcomes of one way, if none of them can be changed."""
    kinds = set(map(type, outcomes))
    if kinds == {float}:
        return [(outcome, AS_IT_IS, FLOAT, way, expires) for outcome in outcomes]
    if kinds <= PLAIN:
        sizes = map(getsizeof, outcomes)
        return [(outcome, AS_IT_IS, size, way, expires) for outcome, size in zip(outcomes, sizes, strict=True)]
    if kinds == {dict} and are_flat(outcomes):
        texts = [dumps(outcome, NATIVE) for outcome in outcomes]
        return [(text, LOADED, getsizeof(text), way, expires) for text in texts]
    return None


def are_flat(outcomes: Sequence[dict[Any, Any]]) -> bool:
    """Say whether dicts hold nothing but plain values."""
    names, values = chain.from_iterable(outcomes), chain.from_iterable(map(dict.values, outcomes))
    return PLAIN.issuperset(map(type, names)) and PLAIN.issuperset(map(type, values))


def frozen(outcome: Any, way: Way, expires: float) -> Entry:
    """Make an entry of an outcome; raises `Unkept` for one that cannot be copied."""
    kind = type(outcome)
    if kind in PLAIN:
        return outcome, AS_IT_IS, getsizeof(outcome), way, expires
    if (kind is dict or kind is list or kind is tuple) and is_plain((outcome,)):
        held = dumps(outcome, NATIVE)  # of this process, and read by it alone
        return held, LOADED, getsizeof(held), way, expires
    try:
        kept, thaw = copied(outcome, kind)
        return kept, thaw, size_of(kept), way, expires
    except Exception as error:
        raise Unkept(f"{kind.__name__}: {type(error).__name__}: {error}") from error


def copied(outcome: Any, kind: type) -> tuple[Any, int]:
    """Copy an outcome, and say how each hit gets a copy of its own."""
    if isinstance(outcome, np.generic) and not outcome.dtype.hasobject:
        return outcome, AS_IT_IS
    if isinstance(outcome, np.ndarray) and not outcome.dtype.hasobject:
        return outcome.copy(), ARRAY
    if isinstance(outcome, Exception):
        return copy_error(outcome), ERROR
    if isinstance(outcome, BaseModel) and PLAIN.issuperset(map(type, vars(outcome).values())):
        return copy.copy(outcome), SHALLOW
    return copy.deepcopy(outcome), DEEP


def copy_error(error: Exception) -> Exception:
    """Copy an error without its traceback: the same one raised again and again would carry ever longer ones."""
    twin = copy.copy(error)
    if type(twin) is not type(error) or twin.args != error.args:
        raise Unkept(f"{type(error).__name__} cannot be copied")
    return twin


AS_IT_IS, LOADED, ARRAY, ERROR, SHALLOW, DEEP = range(6)
THAWS: tuple[Callable[[Any], Any], ...] = (
    lambda held: held,
    marshal.loads,
    np.copy,
    copy_error,
    copy.copy,
    copy.deepcopy,
)


def is_leaders_own(error: Exception) -> bool:
    """Say whether a failure says nothing of the row: this caller left, was late, or was refused."""
    return isinstance(error, Problem) and error.status in LEADERS_OWN


def size_of(value: Any, seen: set[int] | None = None) -> int:
    """Give the bytes that a value takes, what it refers to included."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    size = getsizeof(value)
    if isinstance(value, np.ndarray):
        return int(size if value.base is None else size + value.nbytes) + (
            sum(size_of(item, seen) for item in value.ravel().tolist()) if value.dtype.hasobject else 0
        )
    images = sys.modules.get("PIL.Image")
    if images is not None and isinstance(value, images.Image):
        return int(size + value.width * value.height * len(value.getbands()) * (4 if value.mode in "IF" else 1))
    if isinstance(value, dict):
        return size + sum(size_of(key, seen) + size_of(item, seen) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return size + sum(size_of(item, seen) for item in value)
    slots = [getattr(value, name, None) for kind in type(value).__mro__ for name in slots_of(kind)]
    return size + sum(size_of(item, seen) for item in (getattr(value, "__dict__", None), *slots))


def slots_of(kind: type) -> Sequence[str]:
    """Name the slots of one class."""
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else [name for name in slots if not name.startswith("__") or name in SEEN]


SEEN = frozenset({"__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__"})
