"""Rows of one schema, the value that every node takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from hansang.call import Call, Step
from hansang.errors import ModelFailed
from hansang.extras import require

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Columns = Mapping[str, np.ndarray]


class Batch:
    """Rows of one schema, each with its `Call`; an outcome that is an exception is a row that failed.

    A batch holds either rows (dicts, pydantic models, numbers, arrays: whatever the schema says) or whole columns
    (numpy arrays of one length, as offline scoring reads them); each view is made from the other on demand and kept.

    `failed` counts the rows that are exceptions, so that the usual case costs one comparison. `background` marks
    work that fills the gaps of live requests.
    """

    __slots__ = ("_calls", "_columns", "_rows", "background", "failed", "size", "steps")

    def __init__(
        self,
        rows: list[Any] | None,
        calls: list[Call] | None = None,
        failed: int = 0,
        *,
        columns: Columns | None = None,
        size: int | None = None,
    ) -> None:
        self._rows = rows
        self._calls = calls
        self._columns = columns
        self.failed = failed
        self.size = len(rows) if rows is not None else (size or 0)
        self.steps: list[Step] = []
        self.background = False

    @classmethod
    def of(cls, rows: Iterable[Any], calls: list[Call] | None = None) -> Batch:
        """Make a batch of rows, counting those that are exceptions."""
        rows = rows if isinstance(rows, list) else list(rows)
        return cls(rows, calls, sum(isinstance(row, Exception) for row in rows))

    @classmethod
    def of_columns(cls, columns: Columns) -> Batch:
        """Make a batch of columns, numpy arrays of the same length; rows are made only if somebody asks."""
        return cls(None, columns=columns, size=len(next(iter(columns.values()))) if columns else 0)

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Batch({self.size} rows, {self.failed} failed)"

    @property
    def rows(self) -> list[Any]:
        """The rows, in order; a failed row is an exception."""
        if self._rows is None:
            columns = self._columns or {}
            names = list(columns)
            self._rows = [
                dict(zip(names, values, strict=True))
                for values in zip(*(column.tolist() for column in columns.values()), strict=True)
            ]
        return self._rows

    @property
    def calls(self) -> list[Call]:
        """One `Call` a row."""
        if self._calls is None:
            self._calls = [Call(row=n, trail=list(self.steps)) for n in range(self.size)]
        return self._calls

    @property
    def has_calls(self) -> bool:
        """Whether somebody waits for these rows one by one; whole columns have no calls until asked."""
        return self._calls is not None

    def mark(self, step: Step) -> None:
        """Write a step into the trail of every row."""
        if self._calls is None:
            self.steps.append(step)
        else:
            for call in self._calls:
                call.trail.append(step)

    # --- views ---

    def numpy(self, fields: Sequence[str] | None = None, dtype: Any = None) -> np.ndarray:
        """Give the rows as an array of shape (rows, fields); of shape (rows, …) for rows that have no fields."""
        if self._columns is not None:
            names = fields if fields is not None else list(self._columns)
            out = np.empty((self.size, len(names)), dtype or np.result_type(*(self._columns[n] for n in names)))
            for position, name in enumerate(names):
                out[:, position] = self._columns[name]
            return out
        if not self.size:
            return np.empty((0, len(fields or ())), dtype)
        return np.array(self.tuples(fields), dtype)

    def tuples(self, fields: Sequence[str] | None = None) -> list[Any]:
        """Give the values of the fields, a tuple a row; the rows themselves where they have no fields."""
        rows = self.rows
        if not rows or not isinstance(rows[0], Mapping | BaseModel):
            return rows
        names = tuple(fields) if fields is not None else field_names(rows[0])
        if len(names) == 1:
            return [(value,) for value in self.column(names[0])]
        return list(map(getter(rows[0])(*names), rows))

    def column(self, name: str) -> list[Any]:
        """Give one field's values, in row order."""
        if self._columns is not None:
            values: list[Any] = self._columns[name].tolist()
            return values
        rows = self.rows
        return list(map(getter(rows[0])(name), rows)) if rows else []

    def columns(self, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Give fields as numpy arrays by name."""
        if self._columns is not None:
            return {name: self._columns[name] for name in fields}
        return {name: np.array(self.column(name)) for name in fields}

    def pandas(self, fields: Sequence[str] | None = None) -> pd.DataFrame:
        """Give the rows as a pandas DataFrame."""
        frame: Any = require("pandas", "mlflow").DataFrame
        if self._columns is not None:
            return frame({name: self._columns[name] for name in fields or self._columns})
        names = tuple(fields) if fields is not None else field_names(self.rows[0]) if self.size else ()
        return frame.from_records(self.tuples(names), columns=list(names))

    def arrow(self) -> pa.Table:
        """Give the rows as an Arrow table."""
        arrow: Any = require("pyarrow", "")
        if self._columns is not None:
            return arrow.table(dict(self._columns))
        names = field_names(self.rows[0]) if self.size else ()
        return arrow.table({name: self.column(name) for name in names})

    # --- parts ---

    def take(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Give the rows at these positions, in this order."""
        if self._columns is not None and self._calls is None:
            part = Batch.of_columns({name: column[np.asarray(indices)] for name, column in self._columns.items()})
            return self._like(part)
        rows, calls = self.rows, self.calls
        return self._like(self._count(Batch([rows[i] for i in indices], [calls[i] for i in indices])))

    def slice(self, start: int, stop: int) -> Batch:
        """Give the rows from `start` up to `stop`."""
        if self._columns is not None and self._calls is None:
            return self._like(Batch.of_columns({name: column[start:stop] for name, column in self._columns.items()}))
        return self._like(self._count(Batch(self.rows[start:stop], self.calls[start:stop])))

    def replace(self, predictions: Any, *, name: str = "the node") -> Batch:
        """Give a batch of the same calls with new rows: one prediction or exception a row.

        `predictions` is a list, a numpy array whose first axis is the rows, or a mapping of columns. Raises
        `ModelFailed` when the number of predictions is not the number of rows.
        """
        if isinstance(predictions, dict):
            part = Batch.of_columns(predictions)
        else:
            part = Batch.of(as_rows(predictions))
        if part.size != self.size:
            raise ModelFailed(f"{name} gave {part.size} predictions for {self.size} rows; return one per row")
        part._calls = self._calls
        return self._like(part)

    def fail(self, error: Exception) -> Batch:
        """Give a batch of the same calls in which every row failed with this error."""
        return self._like(Batch([error] * self.size, self._calls, self.size))

    @staticmethod
    def concat(parts: Sequence[Batch]) -> Batch:
        """Join batches of one schema, in order."""
        first = parts[0]
        if len(parts) == 1:
            return first
        if all(part._columns is not None and part._calls is None for part in parts):
            names = first._columns or {}
            joined = Batch.of_columns({n: np.concatenate([(part._columns or {})[n] for part in parts]) for n in names})
            return first._like(joined)
        rows: list[Any] = []
        calls: list[Call] = []
        for part in parts:
            rows += part.rows
            calls += part.calls
        return first._like(Batch(rows, calls, sum(part.failed for part in parts)))

    def _count(self, part: Batch) -> Batch:
        if self.failed:
            part.failed = sum(isinstance(row, Exception) for row in part._rows or ())
        return part

    def _like(self, part: Batch) -> Batch:
        """Give a part what it shares with this batch: its priority and, without calls, its steps."""
        part.background = self.background
        if part._calls is None:
            part.steps = self.steps
        return part


def as_rows(predictions: Any) -> list[Any]:
    """Make a list of predictions; a flat array becomes plain numbers, one with more axes an array a row."""
    if isinstance(predictions, np.ndarray) and predictions.ndim == 1:
        values: list[Any] = predictions.tolist()
        return values
    return predictions if isinstance(predictions, list) else list(predictions)


def field_names(row: Any) -> tuple[str, ...]:
    """Name the fields of a row."""
    return tuple(row) if isinstance(row, Mapping) else tuple(type(row).model_fields)


def getter(row: Any) -> Callable[..., Callable[[Any], Any]]:
    """Choose how fields are read from rows like this one."""
    return itemgetter if isinstance(row, Mapping) else attrgetter
