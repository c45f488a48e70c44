"""Which predictions a record holds: asked by id, without Parquet, Arrow or DuckDB."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hansang.record.files import ids_path
from hansang.record.frame import frame_ids
from hansang.record.ids import Keys, Span, keys_of, read_span
from hansang.record.prediction_id import id_milliseconds
from hansang.record.segment import PREDICTIONS, list_segments, parquet_path, read_segment

RECENT = 120.0  # seconds within which a prediction is believed in: another process may be writing it
AHEAD = 60.0  # seconds by which another machine's clock may be ahead
DAY = 86400.0
LATEST = 86400.0  # seconds from a prediction's id to its answer; the longest deadline there is
Place = tuple[Path, Span | None]


@dataclass(slots=True)
class Known:
    """Looks ids up in one record; made once and asked often, it remembers which files there are.

    Not for two threads at once.
    """

    folder: Path
    kind: str = PREDICTIONS
    clock: Callable[[], float] = time.time
    _days: dict[str, tuple[int, list[Place]]] = field(default_factory=dict)
    _closed: dict[Path, Keys] = field(default_factory=dict)

    def is_recent(self, id: str) -> bool:
        """Say whether an id is so new that its prediction may just be being written, here or by another process."""
        return -AHEAD < self.clock() - id_milliseconds(id) / 1000 < RECENT

    def missing(self, ids: Sequence[str]) -> set[str]:
        """Give those of these ids of which the record has no prediction; recent ones are believed.

        Exact for all others: it looks at the ids of every file that may hold one, and then at the spool.
        """
        left = {id for id in ids if not self.is_recent(id)}
        for day, asked in by_day(left).items():
            for path, span in self.places(day, day + 1 + int(LATEST // DAY)):
                still = asked & left
                if not still:
                    break
                left -= still if span is None else among(still, span)
                if not path.exists():  # it was merged or deleted just now
                    return self.missing(ids)
        return {id for id in left if id not in self.spooled(left)} if left else left

    def files(self, id: str, until: float | None = None) -> list[Path]:
        """Give the Parquet files that hold an id; `until` is the last day to look at, in seconds since the epoch."""
        first = day_of(id)
        last = first + 1 + int(LATEST // DAY) if until is None else int(until // DAY) + 1
        return [path for path, span in self.places(first, last) if span is None or among({id}, span)]

    def places(self, first: int, last: int) -> Iterator[Place]:
        """Give the files of these days, by number, with the span of their ids; None where it is not known.

        The day before the first is looked at too: a segment is named after its first row.
        """
        for day in range(first - 1, last + 1):
            name = time.strftime("dt=%Y-%m-%d", time.gmtime(day * DAY))
            folder = self.folder / self.kind / name
            try:
                changed = folder.stat().st_mtime_ns
            except FileNotFoundError:
                self._days.pop(name, None)
                continue
            known = self._days.get(name)
            if known is None or known[0] != changed:
                known = self._days[name] = (changed, self.look(folder, known[1] if known else []))
            yield from known[1]

    @staticmethod
    def look(folder: Path, before: list[Place]) -> list[Place]:
        """List a day's files with the spans of their ids."""
        spans = {path: span for path, span in before if span is not None}
        with os.scandir(folder) as entries:
            paths = sorted(Path(entry.path) for entry in entries if entry.name.endswith(".parquet"))
        return [(path, spans.get(path) or read_span(ids_path(path))) for path in paths]

    def spooled(self, ids: set[str]) -> set[str]:
        """Give those of these ids that are in the spool; closed segments are read once."""
        wanted = dict(zip(ids, keys_of("".join(ids).encode())[0], strict=True))
        segments = list_segments(self.folder, ".open", ".closed", kind=self.kind)
        self._closed = {path: keys for path, keys in self._closed.items() if path in segments}
        found: set[str] = set()
        for path in segments:
            keys = self._closed.get(path)
            if keys is None:
                keys = segment_keys(path, self.folder)
                if path.suffix == ".closed":
                    self._closed[path] = keys
            found |= {id for id, key in wanted.items() if holds(keys, key)}
        return found


def day_of(id: str) -> int:
    """Give the day of an id, in days since the epoch."""
    return int(id_milliseconds(id) / 1000 // DAY)


def by_day(ids: set[str]) -> dict[int, set[str]]:
    """Group ids by their days."""
    days: dict[int, set[str]] = {}
    for id in ids:
        days.setdefault(day_of(id), set()).add(id)
    return days


def among(ids: set[str], span: Span) -> set[str]:
    """Give those of these ids that a file holds."""
    near = [id for id in ids if span.first <= id_milliseconds(id) <= span.last]
    if not near:
        return set()
    asked, _ = keys_of("".join(near).encode())
    try:
        keys = span.keys()
    except FileNotFoundError:
        return set()
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return {id for id, there in zip(near, keys[places] == asked, strict=True) if there}


def holds(keys: Keys, key: np.uint64) -> bool:
    """Say whether sorted keys have this one."""
    place = int(np.searchsorted(keys, key))
    return place < len(keys) and keys[place] == key


def segment_keys(path: Path, folder: Path) -> Keys:
    """Read the keys of a segment, under whichever of its names; of one that became Parquet just now, those."""
    for name in (path, path.with_suffix(".closed")):
        try:
            frames = read_segment(name.read_bytes(), name.name)
        except FileNotFoundError:
            continue
        ids = b"".join([part for at in frames for part in frame_ids(frames.data, at)])
        try:
            return np.unique(keys_of(ids)[0])
        except ValueError:
            break
    span = read_span(ids_path(parquet_path(folder, path)))
    return np.array([], np.uint64) if span is None else span.keys()
