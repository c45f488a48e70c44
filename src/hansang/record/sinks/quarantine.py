"""Rows that a sink will never take: kept as Parquet under `sinks/quarantine/<sink>/`, with the reasons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hansang.record.sinks.position import FOLDER
from hansang.record.sinks.sink import Parcel


def quarantine(folder: Path, sink: str, parcel: Parcel, reasons: Mapping[int, str]) -> Path:
    """Keep some rows of a parcel, with why they were refused in a column `refused`; again overwrites itself."""
    places = sorted(reasons)
    rows = parcel.table().take(pa.array(places, pa.int64()))
    rows = rows.append_column("refused", pa.array([reasons[place] for place in places], pa.string()))
    name = f"{parcel.path.stem}-{parcel.start}-{parcel.start + parcel.rows}.parquet"
    path = folder / FOLDER / "quarantine" / sink / parcel.kind / name
    write(path, rows)
    return path


def quarantined(folder: Path, sink: str) -> list[Path]:
    """List the files of rows that a sink refused."""
    return sorted((folder / FOLDER / "quarantine" / sink).glob("*/[!.]*.parquet"))


def keep_only(path: Path, reasons: Mapping[int, str]) -> None:
    """Keep the rows of such a file that are still refused, with the new reasons; none left, it is deleted."""
    if not reasons:
        path.unlink()
        return
    places = sorted(reasons)
    rows = pq.read_table(path, partitioning=None).take(pa.array(places, pa.int64()))
    at = rows.schema.get_field_index("refused")
    write(path, rows.set_column(at, "refused", pa.array([reasons[place] for place in places], pa.string())))


def write(path: Path, rows: pa.Table) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        pq.write_table(rows, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
