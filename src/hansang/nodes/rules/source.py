"""What a rule looks at: a field of the row, a header, the key, the time, or what a function says of the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import UsageError
from hansang.graph import awaits
from hansang.isolate import failure

Kind = Literal["field", "header", "key", "time", "function"]

# The parts of the time and the values that each can have; a date is ISO text, and a week starts on Monday, which is 0.
TIME: Mapping[str, tuple[Callable[[datetime], Any], range | None]] = {
    "year": (lambda at: at.year, None),
    "month": (lambda at: at.month, range(1, 13)),
    "day": (lambda at: at.day, range(1, 32)),
    "weekday": (lambda at: at.weekday(), range(7)),
    "hour": (lambda at: at.hour, range(24)),
    "minute": (lambda at: at.minute, range(60)),
    "date": (lambda at: at.date().isoformat(), None),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that a rule looks at; a row that does not have it has None."""

    kind: Kind
    name: str
    function: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        prefix = {"header": "header:", "time": "time."}.get(self.kind, "")
        return prefix + self.name

    def values(self, batch: Batch, at: datetime | None = None) -> list[Any]:
        """Give the value of each row; what a function raises stands in the place of its row."""
        match self.kind:
            case "field":
                return field_values(batch, self.name)
            case "header":
                return [call.headers.get(self.name) for call in calls_of(batch)] or [None] * batch.size
            case "key":
                return [call.key for call in calls_of(batch)] or [None] * batch.size
            case "time":
                assert at is not None  # whoever asks for the time has a clock
                return [TIME[self.name][0](at)] * batch.size
        return [self._called(row) for row in batch.rows]

    def _called(self, row: Any) -> Any:
        assert self.function is not None
        try:
            return self.function(row)
        except Exception as error:
            return failure(error, self.name)


def calls_of(batch: Batch) -> list[Call]:
    """Give the calls of a batch; none for whole columns, which nobody asked for one by one."""
    return batch.calls if batch.has_calls else []


def field_values(batch: Batch, name: str) -> list[Any]:
    """Give one field of every row; None where a row has no such field."""
    try:
        return batch.column(name)
    except (AttributeError, KeyError, TypeError):  # rows of several kinds, or some without the field
        return [row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for row in batch.rows]


def source(spec: Any, owner: str) -> Source:
    """Read what a rule looks at: `"field"`, `"header:x-tier"`, `"key"`, `"time.hour"`, or a function of the row.

    `"field:key"` is the field of a name that means something else here.
    """
    if callable(spec):
        name = getattr(spec, "__name__", type(spec).__name__)
        if awaits(spec):
            raise UsageError(f"{owner}: {name} is async; a rule decides at once, so give a plain function of the row")
        return Source("function", name, spec)
    if not isinstance(spec, str) or not spec.strip():
        raise UsageError(f"{owner}: {spec!r} is no rule; give a field's name, 'header:NAME', 'key' or a function")
    kind, colon, name = spec.partition(":")
    if colon and kind in ("field", "header"):
        if not name.strip():
            raise UsageError(f"{owner}: {spec!r} names no {kind}")
        return Source("field", name) if kind == "field" else Source("header", name.strip().lower())
    if spec == "key":
        return Source("key", spec)
    if spec.startswith("time."):
        return time_source(spec.removeprefix("time."), owner)
    return Source("field", spec)


def time_source(part: str, owner: str) -> Source:
    """Give a part of the time."""
    if part not in TIME:
        raise UsageError(f"{owner}: the time has no {part!r}; it has time.{', time.'.join(TIME)}")
    return Source("time", part)


def zone(name: str | tzinfo, owner: str) -> tzinfo:
    """Find a time zone by its IANA name."""
    if isinstance(name, tzinfo):
        return name
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"{owner}: no time zone {name!r}; give an IANA name such as 'Asia/Seoul'") from error
