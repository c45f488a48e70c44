"""A finished segment to its Parquet file: sorted, compressed, in place at once or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hansang.record.frame import ID_SIZE, Damage
from hansang.record.segment import parquet_path, read_segment, sync_folder
from hansang.record.table import WORDS, to_table


def convert(segment: Path, folder: Path) -> Damage:
    """Turn a finished segment into Parquet and remove it; a damaged one is kept under `corrupt`, with its losses.

    Every step can be done again: the file's name comes from the segment, and the segment goes last. Raises
    `RecordError` for a segment of another version, `OSError` when the disk refuses; the segment stays then.
    """
    pa.set_cpu_count(1)
    frames = read_segment(segment.read_bytes(), segment.name, closed=segment.suffix == ".closed")
    table = to_table(frames)
    if table.num_rows:
        write_file(in_order(table), parquet_path(folder, segment))
    if frames.damage.rows:
        kept = folder / "corrupt"
        kept.mkdir(exist_ok=True)
        os.replace(segment, kept / f"{segment.stem}.{frames.damage.rows}.corrupt")
    else:
        os.unlink(segment)
    return frames.damage


def in_order(table: pa.Table) -> pa.Table:
    """Sort by time and id; rows that already are in order, as they nearly always are, are left alone."""
    ids = table["id"].chunk(0)
    if ids.buffers()[2].size != len(ids) * ID_SIZE:
        return table.sort_by([("time", "ascending"), ("id", "ascending")])
    order = np.lexsort((np.frombuffer(ids.buffers()[2], f"S{ID_SIZE}"), table["time"].cast(pa.int64()).to_numpy()))
    return table if (order[1:] > order[:-1]).all() else table.take(pa.array(order))


def write_file(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that appears whole, under its name, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=[*WORDS, "error"])
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    sync_folder(path.parent.parent)


def release() -> None:
    """Give memory that is not in use back to the system."""
    pa.default_memory_pool().release_unused()
