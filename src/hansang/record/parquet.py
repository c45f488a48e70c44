"""A finished segment to its Parquet file: sorted, compressed, in place at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hansang.record import feedback_table, table
from hansang.record.files import replace_text
from hansang.record.frame import ID_SIZE, Damage, Frames
from hansang.record.ids import write_ids
from hansang.record.segment import FEEDBACK, PREDICTIONS, parquet_path, read_segment, segment_kind, sync_folder
from hansang.record.views import create_views

GROUP_ROWS = 65_536  # of a row group: what a reader that wants one id or one minute has to decode


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of one kind are laid out in Parquet; files are sorted by `order`."""

    schema: pa.Schema
    decode: Callable[[Frames], pa.Table]
    order: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def sorting(self) -> list[tuple[str, str]]:
        """The order as Arrow takes it."""
        return [(name, "ascending") for name in self.order]


LAYOUTS = {
    PREDICTIONS: Layout(table.SCHEMA, table.to_table, ("time", "id"), (*table.WORDS, "error")),
    FEEDBACK: Layout(feedback_table.SCHEMA, feedback_table.to_feedback_table, ("received", "id"), ("source",)),
}


def convert(segment: Path, folder: Path) -> Damage:
    """Turn a finished segment into Parquet and remove it; a damaged one is kept under `corrupt`, with its losses.

    Every step can be done again: the file's name comes from the segment, and the segment goes last. Raises
    `RecordError` for a segment of another version, `OSError` when the disk refuses; the segment stays then.
    """
    pa.set_cpu_count(1)
    kind = segment_kind(segment)
    frames = read_segment(segment.read_bytes(), segment.name, closed=segment.suffix == ".closed")
    rows = LAYOUTS[kind].decode(frames)
    if rows.num_rows:
        path = parquet_path(folder, segment)
        write_ids(id_bytes(rows), path)
        with writing(path, kind) as writer:
            writer.write_table(in_order(rows, LAYOUTS[kind]), GROUP_ROWS)
        publish_views(folder)
    if frames.damage.rows:
        kept = folder / "corrupt"
        kept.mkdir(exist_ok=True)
        os.replace(segment, kept / f"{segment.stem}.{frames.damage.rows}.corrupt")
    else:
        os.unlink(segment)
    return frames.damage


def in_order(rows: pa.Table, layout: Layout) -> pa.Table:
    """Sort rows; those that already are in order, as they nearly always are, are left alone."""
    ids, moments = id_bytes(rows), rows[layout.order[0]].cast(pa.int64()).to_numpy()
    if len(ids) != rows.num_rows * ID_SIZE:
        return rows.sort_by(layout.sorting)
    order = np.lexsort((np.frombuffer(ids, f"S{ID_SIZE}"), moments))
    return rows if (order[1:] > order[:-1]).all() else rows.take(pa.array(order))


def id_bytes(rows: pa.Table) -> bytes:
    """Give the ids, one after the other."""
    ids = rows["id"].combine_chunks()
    ids = ids if isinstance(ids, pa.Array) else pa.concat_arrays(ids.chunks)
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    return memoryview(data)[ends[0] : ends[-1]].tobytes()


@contextmanager
def writing(path: Path, kind: str) -> Iterator[Any]:
    """Write a Parquet file that appears whole, under its name, when the block ends well, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    try:
        with whole_file(temporary, kind) as writer:
            yield writer
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    sync_folder(path.parent.parent)


@contextmanager
def whole_file(path: Path, kind: str) -> Iterator[Any]:
    """Write a Parquet file that is on the disk when the block ends."""
    layout = LAYOUTS[kind]
    with open(path, "wb") as file:
        with pq.ParquetWriter(file, layout.schema, compression="zstd", use_dictionary=list(layout.words)) as writer:
            yield writer
        file.flush()
        os.fsync(file.fileno())


def unfinished(path: Path) -> Path:
    """Give the name of a file that is being written; readers do not see it."""
    return path.with_name(f".{path.name}.tmp")


def publish_views(folder: Path) -> None:
    """Keep `views.sql` up to date, with an empty file of each kind so that its views open before there are rows."""
    script = create_views({kind: layout.schema.names for kind, layout in LAYOUTS.items()}, folder)
    with suppress(FileNotFoundError):
        if (folder / "views.sql").read_text("utf-8") == script:
            return
    for kind in LAYOUTS:
        with writing(folder / "schema" / f"{kind}.parquet", kind):
            pass
    replace_text(folder / "views.sql", script)


def release() -> None:
    """Give memory that is not in use back to the system."""
    pa.default_memory_pool().release_unused()
