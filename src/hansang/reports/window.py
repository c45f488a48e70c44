"""Which part of the record a report is about, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hansang.errors import UsageError
from hansang.record.moments import AGO, Moment, read_moment, read_span

FILES = (".parquet", ".pq", ".csv")


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, from `start` until before `end`, in seconds since the epoch."""

    start: float
    end: float

    def __str__(self) -> str:
        return f"{written(self.start)} to {written(self.end)}"

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @property
    def sql(self) -> str:
        """The condition that a row's time is in it."""
        return f"time >= {instant(self.start)} AND time < {instant(self.end)}"


def instant(moment: float) -> str:
    """Write a moment for DuckDB."""
    return f"make_timestamptz({round(moment * 1e6)})"


def written(moment: float) -> str:
    """Write a moment in UTC to the minute; midnight as the day alone."""
    text = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
    return text.removesuffix(" 00:00")


def read_window(since: Moment, until: Moment | None, now: float) -> Window:
    """Read the window of a report; raises `UsageError` when it is empty."""
    window = Window(read_moment(since), now if until is None else read_moment(until, "until"))
    if window.seconds <= 0:
        raise UsageError(f"the window is empty: it starts at {written(window.start)} and ends at {written(window.end)}")
    return window


def read_reference(text: str, window: Window) -> Window | Path:
    """Read what a window is compared with: `28d` before it, `FROM..TO`, or a file with the training data.

    Raises `UsageError` for anything else, and for a reference that reaches into the window.
    """
    if AGO.fullmatch(text.strip()):
        return Window(window.start - read_span(text, "reference"), window.start)
    if ".." in text:
        first, _, last = text.partition("..")
        reference = Window(read_moment(first, "reference"), read_moment(last, "reference"))
        if reference.seconds <= 0:
            raise UsageError(f"reference: {text!r} ends before it starts")
        if reference.end > window.start and reference.start < window.end:
            raise UsageError(
                f"the reference, {reference}, reaches into the window, {window}; rows would be compared with themselves"
            )
        return reference
    path = Path(text)
    if path.suffix.lower() in FILES:
        if not path.is_file():
            raise UsageError(f"reference: there is no file {text!r}")
        return path
    raise UsageError(f"reference: {text!r} is none; write 28d, FROM..TO, or a .parquet or .csv file of training data")


def moment(seconds: float) -> str:
    """Write a moment as programs read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
