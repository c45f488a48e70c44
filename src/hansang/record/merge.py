"""Many small files become one: first those of an hour that is over, then those of a day that is over.

A merged file is named after its sources, so that a merge that is done again overwrites itself. A plan under `merges/`
names the sources: once the merged file is there, it stands for them, and a crash between the two changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hansang.record.files import MERGES, alone, file_time, ids_path, parquet_files, read_plan, replace_text, size_of
from hansang.record.ids import write_ids
from hansang.record.parquet import GROUP_ROWS, LAYOUTS, Layout, id_bytes, in_order, whole_file
from hansang.record.segment import KINDS, list_segments, parquet_path, sync_folder

SMALL = 16 * 1024 * 1024  # bytes; a file above is left alone
LARGE = 64 * 1024 * 1024  # bytes that are put into one file
HOUR, DAY = 3600.0, 86400.0
GRACE = 600.0  # seconds after the end of an hour, for segments that are still being turned into Parquet
PATIENCE = 5.0  # seconds to wait for a moment without readers
BATCH_ROWS = 16_384  # read at once from each of the files
Moments = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one day, in their order, that are to become one."""

    folder: Path
    kind: str
    sources: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The name of the merged file, without its suffix; it says which files are in it."""
        digest = sha256("\n".join(path.name for path in self.sources).encode()).hexdigest()[:12]
        return f"{self.sources[0].name.partition('-')[0]}-0-{digest}"

    @property
    def path(self) -> Path:
        """The merged file."""
        return self.sources[0].with_name(f"{self.name}.parquet")

    @property
    def plan(self) -> Path:
        """The file that names the sources."""
        return self.folder / MERGES / f"{self.name}.json"


# --- what to merge ---


def due_merges(folder: Path, now: float) -> tuple[list[Merge], float]:
    """Give what can be merged now, and when there may be something next."""
    merges: list[Merge] = []
    next_due = inf
    for kind in KINDS:
        days: dict[Path, list[Path]] = {}
        for path in parquet_files(folder, kind):
            days.setdefault(path.parent, []).append(path)
        unready = {parquet_path(folder, path) for path in list_segments(folder, ".open", ".closed", kind=kind)}
        for paths in days.values():
            small = [path for path in paths if path not in unready and size_of(path) < SMALL]
            found, due = merges_of_day(small, now)
            merges += [Merge(folder, kind, tuple(run)) for run in found]
            next_due = min(next_due, due)
    return merges, next_due


def merges_of_day(paths: list[Path], now: float) -> tuple[list[list[Path]], float]:
    """Give the runs of one day's small files that can be merged, and when there may be others."""
    if len(paths) < 2:
        return [], inf
    end = (file_time(paths[0]) // DAY + 1) * DAY + HOUR
    if now >= end:
        return list(runs(paths)), inf
    hours: dict[float, list[Path]] = {}
    for path in paths:
        hours.setdefault(file_time(path) // HOUR, []).append(path)
    found: list[list[Path]] = []
    due = end
    for hour, inside in hours.items():
        if now >= (hour + 1) * HOUR + GRACE:
            found += runs(inside)
        elif len(inside) > 1:
            due = min(due, (hour + 1) * HOUR + GRACE)
    return found, due


def runs(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Cut files into runs that fit into one; a file that would stand alone is left as it is."""
    run: list[Path] = []
    size = 0
    for path in paths:
        if run and size + size_of(path) > LARGE:
            if len(run) > 1:
                yield run
            run, size = [], 0
        run.append(path)
        size += size_of(path)
    if len(run) > 1:
        yield run


# --- merging ---


def merge(work: Merge) -> Generator[None, None, bool]:
    """Put files into one, sorted, a row group a step; gives False when readers left no moment for the exchange.

    The exchange takes milliseconds, and no reader of ours sees it. Closed before its end, nothing has happened.
    """
    pa.set_cpu_count(1)
    replace_text(work.plan, dumps({"folder": str(work.path.parent.relative_to(work.folder)), "sources": names(work)}))
    temporary = work.path.with_name(f".{work.path.name}.tmp")
    try:
        yield from write_merged(work, temporary)
        newest = max(path.stat().st_mtime_ns for path in work.sources)
        os.utime(temporary, ns=(newest, newest))
        with alone(work.folder, PATIENCE) as undisturbed:
            if undisturbed:
                os.replace(temporary, work.path)
                sync_folder(work.path.parent)
                finish(work.sources, work.plan)
        return undisturbed
    finally:
        temporary.unlink(missing_ok=True)
        if not work.path.exists():
            work.plan.unlink(missing_ok=True)
            ids_path(work.path).unlink(missing_ok=True)


def names(work: Merge) -> list[str]:
    """Give the names of the sources."""
    return [path.name for path in work.sources]


def write_merged(work: Merge, temporary: Path) -> Iterator[None]:
    """Write the merged rows, and their ids, under a name that nobody sees."""
    layout = LAYOUTS[work.kind]
    sources = [open_source(path, layout) for path in work.sources]
    ids: list[bytes] = []
    with whole_file(temporary, work.kind) as writer:
        for bound in bounds(np.sort(np.concatenate([source.moments for source in sources]))):
            rows = pa.concat_tables([source.take(bound) for source in sources]).unify_dictionaries().combine_chunks()
            rows = in_order(rows, layout)
            writer.write_table(rows, GROUP_ROWS)
            ids.append(id_bytes(rows))
            yield
    write_ids(b"".join(ids), work.path)


def bounds(moments: Moments) -> list[int]:
    """Give the times that cut sorted rows into row groups, each the first time that is not in the group any more."""
    inner = np.unique(moments[GROUP_ROWS::GROUP_ROWS]) if len(moments) > GROUP_ROWS else moments[:0]
    return [int(bound) for bound in inner if bound > moments[0]] + [int(moments[-1]) + 1]


@dataclass(slots=True)
class Source:
    """A sorted file that is read from its start to its end; `moments` are the times of all its rows."""

    moments: Moments
    pieces: Iterator[pa.Table]
    at: int = 0
    held: pa.Table | None = None

    def take(self, bound: int) -> pa.Table:
        """Give the rows before this time that were not given yet."""
        end = int(np.searchsorted(self.moments, bound))
        count, self.at = end - self.at, end
        held = next(self.pieces) if self.held is None else self.held
        while held.num_rows < count:
            held = pa.concat_tables([held, next(self.pieces)])
        self.held = held.slice(count)
        return held.slice(0, count)


def open_source(path: Path, layout: Layout) -> Source:
    """Open a file; one that is not in order, because it was not made here, is sorted in memory."""
    moment = layout.order[0]
    moments = times_of(pq.read_table(path, columns=[moment], partitioning=None)[moment])
    if (moments[1:] < moments[:-1]).any():
        rows = pq.read_table(path, partitioning=None).select(layout.schema.names).cast(layout.schema)
        rows = rows.sort_by(layout.sorting)
        return Source(times_of(rows[moment]), iter([rows]))
    batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS)
    return Source(moments, (pa.Table.from_batches([batch]).cast(layout.schema) for batch in batches))


def times_of(column: Any) -> Moments:
    """Give a column of times as microseconds."""
    microseconds: Moments = column.cast(pa.int64()).to_numpy()
    return microseconds


def finish(sources: Sequence[Path], plan: Path) -> None:
    """Remove the files that a merged one stands for, and the plan with the last of them."""
    for path in sources:
        path.unlink(missing_ok=True)
        ids_path(path).unlink(missing_ok=True)
    plan.unlink(missing_ok=True)


def recover(folder: Path) -> bool:
    """Finish what a crash left half done: a merge whose file is there removes its sources, any other never was.

    False when readers left no moment for it.
    """
    plans = list((folder / MERGES).glob("*.json"))
    if not plans:
        return True
    with alone(folder, PATIENCE) as undisturbed:
        if undisturbed:
            for plan in plans:
                merged, sources = read_plan(folder, plan)
                finish(sources if merged.exists() else [], plan)
    return undisturbed


def count_rows(path: Path) -> int:
    """Count the rows of a file by its footer; 0 when it cannot be read."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return 0
