"""Whether a value of one type can be a value of another.

Only what cannot fit is a misfit: a union fits when one of its types does, what is not known fits, and so does a field
more. `None` is left to run time.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from inspect import isclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np

from hansang.joints.hints import alternatives, bare, outcomes, reads_otherwise
from hansang.joints.record import Record, record_of

Reading = Literal["python", "model", "validated"]
SEQUENCES = (list, tuple, set, frozenset, Sequence, Set, Iterable, np.ndarray)
WORDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    NoneType: "null",
    dict: "object",
    Any: "anything",
}
TEXTS = (str, bytes, datetime.date, datetime.time, datetime.timedelta, np.datetime64)


@dataclass(frozen=True, slots=True)
class Misfit:
    """Where two types do not fit, and what stands there on each side; `takes` is empty for a field nobody takes.

    `lacks` names fields that are not given at all.
    """

    place: tuple[str, ...]
    gives: str
    takes: str
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """How the taker reads: Python code by attribute or key, a model by field names, or validation by a schema."""

    reading: Reading = "python"
    strict: bool = False

    def misfit(self, gives: Any, takes: Any, place: tuple[str, ...] = ()) -> Misfit | None:
        """Say why no value of one type can be one of the other; `None` when some can."""
        if self.reading == "validated" and reads_otherwise(takes):
            return None
        given, taken = (alternatives if place else outcomes)(gives), alternatives(takes)
        if not given or Any in given or Any in taken:
            return None
        found: list[Misfit] = []
        for one in given:
            for other in taken:
                misfit = self._differ(one, other, place)
                if misfit is None:
                    return None
                if NoneType not in (one, other):
                    found.append(misfit)
        deepest = max(found, key=lambda each: len(each.place), default=None)
        if deepest is not None and (len(deepest.place) > len(place) or len(found) == 1):
            return deepest
        return Misfit(place, in_words(gives), in_words(takes))

    def _differ(self, gives: Any, takes: Any, place: tuple[str, ...]) -> Misfit | None:
        if gives == takes:
            return None
        record = record_of(takes)
        if record is not None and not derived(gives, takes):
            return self._fields(gives, record, takes, place)
        if self._mapping(takes):
            return self._values(gives, takes, place)
        if is_sequence(gives) and is_sequence(takes):
            return self._items(gives, takes, place)
        fits = literal_fits(gives, takes) if Literal in (get_origin(gives), get_origin(takes)) else None
        if fits is None:
            fits = self._class_fits(gives, takes)
        return None if fits else Misfit(place, in_words(gives), in_words(takes))

    # --- objects with fields ---

    def _fields(self, gives: Any, record: Record, takes: Any, place: tuple[str, ...]) -> Misfit | None:
        """Compare with a type that has fields."""
        given = record_of(gives)
        if given is not None:
            return self._shape(gives, given.mapping, record, takes, place) or self._each(given, record, place)
        if self._mapping(gives):
            value = (get_args(gives) or (Any, Any))[-1]
            needed = {name: kind for name, kind in record.fields.items() if name not in record.optional}
            misfits = (self._inner(record).misfit(value, kind, (*place, name)) for name, kind in needed.items())
            shape = self._shape(gives, True, record, takes, place)
            return shape or next((misfit for misfit in misfits if misfit is not None), None)
        scalar = isclass(gives) and (issubclass(gives, str | bytes | numbers.Number) or gives is NoneType)
        if self.reading == "model" and not (isclass(gives) and issubclass(gives, str)):
            return None  # an array, or a number, can be all fields at once
        return Misfit(place, in_words(gives), in_words(takes)) if scalar or is_sequence(gives) else None

    def _shape(self, gives: Any, mapping: bool, record: Record, takes: Any, place: tuple[str, ...]) -> Misfit | None:
        """Find what is read as `row["x"]` and given as `row.x`, or the other way round."""
        if self.reading != "python" or mapping == record.mapping:
            return None
        return Misfit(place, in_words(gives, exact=True), in_words(takes, exact=True))

    def _each(self, given: Record, record: Record, place: tuple[str, ...]) -> Misfit | None:
        lacks = [name for name in record.fields if name not in given.fields and name not in record.optional]
        if lacks and not given.open:
            wanted = ", ".join(f"{name!r} ({in_words(record.fields[name])})" for name in lacks)
            return Misfit(place, ", ".join(given.fields) or "no field", wanted, tuple(lacks))
        inner = self._inner(record)
        for name, kind in record.fields.items():
            misfit = inner.misfit(given.fields.get(name, Any), kind, (*place, name))
            if misfit is not None:
                return misfit
        if self.reading == "validated" and record.closed and not given.open:
            for name in given.fields:
                if name not in record.fields and not (given.mapping and name in given.optional):
                    return Misfit((*place, name), in_words(given.fields[name]), "")
        return None

    def _inner(self, record: Record) -> Fit:
        return Fit(self.reading, record.strict) if record.strict != self.strict else self

    def _values(self, gives: Any, takes: Any, place: tuple[str, ...]) -> Misfit | None:
        """Compare with a dict."""
        wanted = (get_args(takes) or (Any, Any))[-1]
        given = record_of(gives)
        if given is not None:
            if self.reading == "python" and not given.mapping:
                return Misfit(place, in_words(gives, exact=True), in_words(takes, exact=True))
            found = (self.misfit(kind, wanted, (*place, name)) for name, kind in given.fields.items())
            return next((misfit for misfit in found if misfit is not None), None)
        if self._mapping(gives):
            misfit = self.misfit((get_args(gives) or (Any, Any))[-1], wanted, (*place, "values"))
            return misfit and Misfit(place, in_words(gives), in_words(takes))
        return None if derived(gives, Mapping) else Misfit(place, in_words(gives), in_words(takes))

    def _mapping(self, kind: Any) -> bool:
        origin = get_origin(kind) or kind
        return isclass(origin) and issubclass(origin, Mapping) and record_of(kind) is None

    # --- sequences and single values ---

    def _items(self, gives: Any, takes: Any, place: tuple[str, ...]) -> Misfit | None:
        """Compare what sequences are made of."""
        if not (fixed(gives) and fixed(takes)):
            if self.misfit(item(gives), item(takes), (*place, "items")) is not None:
                return Misfit(place, in_words(gives), in_words(takes))
            return None
        pairs = list(zip(get_args(gives), get_args(takes), strict=False))
        same = len(get_args(gives)) == len(get_args(takes))
        if same and all(self.misfit(one, other, (*place, "items")) is None for one, other in pairs):
            return None
        return Misfit(place, in_words(gives), in_words(takes))

    def _class_fits(self, gives: Any, takes: Any) -> bool:
        """Compare two classes."""
        given, taken = get_origin(gives) or gives, get_origin(takes) or takes
        if not (isclass(given) and isclass(taken)) or (taken in SEQUENCES and is_sequence(gives)):
            return True
        if is_number(given) and is_number(taken):
            return rank(given) <= rank(taken) or (self.reading == "validated" and not self.strict)
        if derived(given, taken) or derived(taken, given):
            return True
        return self.reading != "python" and self._converted(given, taken)

    def _converted(self, given: type, taken: type) -> bool:
        """Say whether a model, or validation, may make one of the other."""
        if self.reading == "validated" and not self.strict and issubclass(given, str | bytes):
            return not (is_sequence(taken) or self._mapping(taken))
        axisless = issubclass(given, np.ndarray) and is_number(taken)
        kin = issubclass(given, TEXTS) and issubclass(taken, TEXTS)
        return axisless or kin or any(issubclass(kind, Enum) or unlike(kind) for kind in (given, taken))


def literal_fits(gives: Any, takes: Any) -> bool | None:
    """Compare values that are listed; `None` when their types are what counts."""
    given, taken = (set(get_args(kind)) if get_origin(kind) is Literal else None for kind in (gives, takes))
    if given is not None and taken is not None:
        return bool(given & taken)
    listed, kind = (given, takes) if given is not None else (taken, gives)
    fit = Fit()
    pairs = [(type(value), kind) if given is not None else (kind, type(value)) for value in listed or ()]
    return any(fit._class_fits(*pair) for pair in pairs)


def derived(kind: Any, base: Any) -> bool:
    """Say whether every value of one class is one of the other."""
    kind, base = get_origin(kind) or kind, get_origin(base) or base
    try:
        return issubclass(kind, base)
    except TypeError:  # a TypedDict, or nothing like a class
        return False


def unlike(kind: type) -> bool:
    """Say whether a class is one of the user's own, of which nothing is known here."""
    return kind.__module__ not in ("builtins", "datetime", "numpy", "collections.abc", "typing")


def is_number(kind: Any) -> bool:
    """Say whether values of a class are numbers."""
    return isclass(kind) and issubclass(kind, numbers.Number | np.generic) and not issubclass(kind, Enum)


def rank(kind: type) -> int:
    """Order numbers by what they can hold: booleans, whole numbers, all."""
    if issubclass(kind, bool | np.bool_):
        return 0
    return 1 if issubclass(kind, int | np.integer | numbers.Integral) else 2


def is_sequence(kind: Any) -> bool:
    """Say whether values of a type are made of items; text is not."""
    origin = get_origin(kind) or kind
    if not isclass(origin) or issubclass(origin, str | bytes | Mapping) or record_of(kind) is not None:
        return False
    return origin in SEQUENCES or issubclass(origin, Sequence | Set | np.ndarray)


def fixed(kind: Any) -> bool:
    """Say whether a sequence has a fixed number of items, each of its own type."""
    args = get_args(kind)
    return (get_origin(kind) or kind) is tuple and bool(args) and Ellipsis not in args


def item(kind: Any) -> Any:
    """Give the type of a sequence's items."""
    args = get_args(kind)
    if not args or derived(kind, np.ndarray):
        return Any
    kinds = {bare(arg) for arg in args if arg is not Ellipsis} if fixed(kind) else {bare(args[0])}
    return kinds.pop() if len(kinds) == 1 else Any


def in_words(kind: Any, exact: bool = False) -> str:
    """Name a type for people; `exact` says how it is read, where that is what matters."""
    kinds = list(dict.fromkeys(alternatives(kind)))
    if len(kinds) > 1:
        return " or ".join(dict.fromkeys(in_words(each, exact) for each in kinds))
    kind = kinds[0] if kinds else Any
    args, origin = get_args(kind), get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(value) for value in args)
    record = record_of(kind)
    if record is not None:
        return record.name if not exact else f"{record.name} ({'a dict' if record.mapping else 'an object'})"
    if derived(origin, Mapping):
        values = f" of {in_words(args[1])}" if len(args) == 2 and bare(args[1]) is not Any else ""
        return f"dict{values}"
    if is_sequence(kind):
        name = "array" if derived(origin, np.ndarray) else origin.__name__.lower()
        return f"{name} of {in_words(item(kind))}" if item(kind) is not Any else name
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
