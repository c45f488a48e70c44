"""A switch by the value of one thing: a field, a header, the key, a part of the time, or what a function says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import InvalidRow, SchemaError, UsageError
from hansang.nodes.rules.branch import FAILED, Choice, name_of
from hansang.nodes.rules.decision import shown
from hansang.nodes.rules.fields import possible, refuse_unknown
from hansang.nodes.rules.source import TIME, Source


@dataclass(frozen=True, slots=True)
class Lookup:
    """Values by the number of their branch; the branch after the last one is the default's, if there is a default.

    A member of an Enum and its value are one. A row that lacks what is looked at has the value None.
    """

    owner: str
    source: Source
    keys: Sequence[Hashable]
    has_default: bool
    sources: Sequence[Source] = field(init=False, repr=False)
    _places: Mapping[Any, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = {bare(key): place for place, key in enumerate(self.keys)}
        if len(places) < len(self.keys):
            raise UsageError(f"{self.owner}: two keys of the table mean the same value")
        self._refuse_hopeless(places)
        object.__setattr__(self, "sources", [self.source])
        object.__setattr__(self, "_places", places)

    def _refuse_hopeless(self, keys: Mapping[Any, int]) -> None:
        """Refuse keys that no row can have."""
        values = TIME[self.source.name][1] if self.source.kind == "time" else None
        for key in keys:
            if self.source.kind in ("header", "key") and not isinstance(key, str | None):
                raise UsageError(f"{self.owner}: {self.source} is text, never {key!r}; write the key as text")
            if values is not None and key not in values:
                raise UsageError(f"{self.owner}: {self.source} is {values[0]} to {values[-1]}, never {key!r}")

    def choose(self, batch: Batch, at: datetime | None) -> Choice:
        """Give the number of each row's branch; a row that has none is an `InvalidRow`."""
        values = self.source.values(batch, at)
        find = self._places.get
        try:
            chosen = [find(value, FAILED) for value in values]
        except TypeError:  # a value that has no hash is none of the keys
            chosen = [FAILED] * len(values)
        problems: dict[int, Exception] = {}
        if FAILED in chosen:
            for place, value in enumerate(values):
                if chosen[place] == FAILED:
                    found = self._found(value)
                    if isinstance(found, Exception):
                        problems[place] = found
                    else:
                        chosen[place] = found
        return Choice(chosen, problems)

    def _found(self, value: Any) -> int | Exception:
        if isinstance(value, Exception):
            return value
        try:
            place = self._places.get(bare(value))
        except TypeError:
            place = None
        if place is not None:
            return place
        return len(self.keys) if self.has_default else self._unmatched(value)

    def _unmatched(self, value: Any) -> InvalidRow:
        """Say that no branch takes a value, without repeating what the client sent."""
        wanted = ", ".join(repr(key) for key in self._places)
        loc = ["header", self.source.name] if self.source.kind == "header" else [self.source.name]
        what = "it is missing" if value is None else "this value is none of them"
        fault = {"loc": loc, "type": "no_branch", "msg": f"Input should be one of {wanted}; {what}"}
        return InvalidRow(f"{self.owner} has no branch for this row", errors=[fault])

    def prove(self, schema: Any) -> None:
        """Raise `SchemaError` for a key that rows cannot have, and for a table that may lack a value."""
        refuse_unknown([self.source], schema, self.owner)
        values = possible(self.source, schema)
        if values is None:
            if not self.has_default:
                raise SchemaError(
                    f"{self.owner} needs default=: nobody knows all values of {self.source}; the table counts as "
                    f"complete only for a bool, Literal or Enum field of the endpoint's input"
                )
            return
        wrong = [key for key in self._places if key not in values]
        if wrong:
            raise SchemaError(f"{self.owner}: {self.source} is never {wrong[0]!r}; it is one of {listed(values)}")
        missing = values - set(self._places)
        if missing and not self.has_default:
            raise SchemaError(f"{self.owner} has no branch for {self.source} = {listed(missing)}; add it, or default=")

    def explain(self, row: Any, call: Call, at: datetime | None) -> tuple[list[str], dict[str, Any]]:
        """Say what the value is, and which keys there are."""
        value = self.source.values(Batch([row], [call]), at)[0]
        pairs = zip(self._places, self.table(), strict=True)
        told = [{"variant": name_of(key), "condition": text, "true": bare(value) == key} for key, text in pairs]
        lines = [
            f"{self.source} is {shown(value)}",
            *(f"{each['condition']}: {str(each['true']).lower()}" for each in told),
        ]
        return lines, {"values": {str(self.source): value}, "conditions": told}

    def table(self) -> list[str]:
        """Write the condition of each branch."""
        return [f"{self.source} == {key!r}" for key in self._places]


def bare(value: Any) -> Any:
    """Give the value of an Enum's member, and any other value as it is."""
    return value.value if isinstance(value, Enum) else value


def listed(values: frozenset[Any]) -> str:
    """Write values one after the other."""
    return ", ".join(sorted(repr(value) for value in values))
