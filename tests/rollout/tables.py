"""Arms as a table in memory, without a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hansang.rollout.arms import Arms

Values = npt.NDArray[Any]


def column(given: Values | None, default: Any, rows: int) -> Sequence[Any]:
    return [default] * rows if given is None else given.tolist()


def side(arm: str, rows: int, start: int = 0, **columns: Values) -> dict[str, Sequence[Any]]:
    """Rows of one arm, numbered from `start`; a pair has the same numbers on both sides."""
    numbers = np.arange(start, start + rows)
    outputs = columns.get("output_value")
    texts = columns.get("output", np.array([repr(value) for value in column(outputs, 0.5, rows)]))
    return {
        "id": [f"{number:09d}" for number in numbers],
        "row": [0] * rows,
        "time": column(columns.get("time"), None, rows) if "time" in columns else (numbers * 0.01).tolist(),
        "unit": column(columns.get("unit"), None, rows) if "unit" in columns else [str(number) for number in numbers],
        "arm": [arm] * rows,
        "status": column(columns.get("status"), 200, rows),
        "latency_ms": column(columns.get("latency_ms"), 2.0, rows),
        "batch_rows": column(columns.get("batch_rows"), 1, rows),
        "cached": [False] * rows,
        "output": texts.tolist(),
        "output_value": column(outputs, None if "output" in columns else 0.5, rows),
        "truth_value": column(columns.get("truth_value"), None, rows),
    }


def arms_of(*sides: dict[str, Sequence[Any]], share: float | None = None) -> Arms:
    """Put sides into a connection; with a share they are those of a split, else pairs."""
    connection = duckdb.connect()
    types = {"output_value": pa.float64(), "truth_value": pa.float64(), "unit": pa.string(), "output": pa.string()}
    tables = [
        pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()}) for columns in sides
    ]
    connection.register("arms", pa.concat_tables(tables))
    return Arms(connection, paired=share is None, share=share)
