"""Rows of one schema, the value that every node takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from hansang.call import Call, Step
from hansang.errors import WrongRows
from hansang.extras import require

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Columns = Mapping[str, np.ndarray]
UNCHANGING = frozenset({int, float, bool, str, bytes, type(None)})


class Batch:
    """Rows of one schema, each with its `Call`; an outcome that is an exception is a row that failed.

    A batch holds either rows (dicts, pydantic models, numbers, arrays: whatever the schema says) or whole columns
    (numpy arrays of one length, as offline scoring reads them); each view is made from the other on demand and kept.

    `failed` counts the rows that are exceptions, so that the usual case costs one comparison. `background` marks
    work that fills the gaps of live requests.
    """

    __slots__ = ("_calls", "_columns", "_make", "_rows", "background", "failed", "size", "steps")

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
        self._make: Callable[[dict[str, Any]], Any] | None = None
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
    def of_columns(cls, columns: Columns, make: Callable[[dict[str, Any]], Any] | None = None) -> Batch:
        """Make a batch of columns, numpy arrays of the same length; rows are made only if somebody asks.

        `make` turns a dict into a row, where rows are not dicts.
        """
        sizes = {len(column) for column in columns.values()}
        if len(sizes) > 1:
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise ValueError(f"columns of one batch have different lengths: {lengths}")
        batch = cls(None, columns=columns, size=sizes.pop() if sizes else 0)
        batch._make = make
        return batch

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
            if self._make is not None:
                self._rows = list(map(self._make, self._rows))
        return self._rows

    @property
    def whole(self) -> Columns | None:
        """The columns, if the batch holds columns; none are made."""
        return self._columns

    @property
    def made(self) -> bool:
        """Whether a function makes the rows of columns: they are not just dicts."""
        return self._make is not None

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
            kind = dtype or (np.result_type(*(self._columns[n] for n in names)) if names else float)
            out = np.empty((self.size, len(names)), kind)
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

    @property
    def good(self) -> list[int]:
        """The positions of the rows that have not failed."""
        if not self.failed:
            return list(range(self.size))
        return [position for position, row in enumerate(self.rows) if not isinstance(row, Exception)]

    def take(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Give the rows at these positions, in this order."""
        calls = None if self._calls is None else [self._calls[i] for i in indices]
        if self._columns is not None:
            chosen = np.asarray(indices, int)
            columns = {name: column[chosen] for name, column in self._columns.items()}
            return self._like(Batch.of_columns(columns, self._make), calls)
        rows = self.rows
        return self._like(self._count(Batch([rows[i] for i in indices])), calls)

    def slice(self, start: int, stop: int) -> Batch:
        """Give the rows from `start` up to `stop`."""
        calls = None if self._calls is None else self._calls[start:stop]
        if self._columns is not None:
            columns = {name: column[start:stop] for name, column in self._columns.items()}
            return self._like(Batch.of_columns(columns, self._make), calls)
        return self._like(self._count(Batch(self.rows[start:stop])), calls)

    def fork(self) -> Batch:
        """Give the same rows on a way of their own: their trails come back by `join`.

        Rows that are dicts are copied, so that a node which changes them there changes nothing here. The copy is
        shallow; models of pydantic, arrays and whole columns are shared, for copies of them cost more than they help.
        """
        calls = None if self._calls is None else [call.fork() for call in self._calls]
        rows = self._rows
        if rows and type(rows[0]) is dict:
            rows = [row.copy() if type(row) is dict else row for row in rows]
        part = Batch(rows, calls, self.failed, columns=self._columns, size=self.size)
        part._make = self._make
        part.background = self.background
        return part

    def apart(self, indices: Sequence[int]) -> Batch:
        """Give the rows at these positions for work that outlives their requests, in the background.

        The rows are shallow copies, so that a node which changes them there changes nothing here; the calls are their
        own, and nobody ends them (see `Call.apart`).
        """
        part = self.take(indices)
        if part._columns is None:  # columns that are taken are copies
            part._rows = list(map(copied, part.rows))
        part._calls = [call.apart() for call in part.calls]
        part.background = True
        return part

    def join(self, fork: Batch) -> None:
        """Take over the trails of rows that went a way of their own, on what `fork` gave or on these rows of it."""
        if self._calls is None and fork._calls is None:
            self.steps += fork.steps
            fork.steps.clear()
            return
        for call, other in zip(self.calls, fork.calls, strict=True):
            call.join(other)

    def replace(self, predictions: Any, *, name: str = "the node") -> Batch:
        """Give a batch of the same calls with new rows: one prediction or exception a row.

        `predictions` is a list, a numpy array whose first axis is the rows, a mapping of columns, a DataFrame or a
        `Batch`. Raises `WrongRows` when the number of predictions is not the number of rows, for anything that is no
        sequence of predictions, and for a `Batch` whose rows stand in another order.
        """
        part = as_batch(predictions, name)
        if part.size != self.size:
            raise WrongRows(f"{name} gave {part.size} predictions for {self.size} rows; return one per row")
        if part._calls is not None and self._calls is not None and part._calls != self._calls:
            raise WrongRows(f"{name} gave its rows in another order than it got them")
        if part is predictions:
            return self.adopt(part)
        return self._like(part, self._calls)

    def adopt(self, part: Batch) -> Batch:
        """Give the rows of a batch of the same size to the calls of this one."""
        if (
            part._calls is self._calls
            and part.background == self.background
            and (self._calls or part.steps is self.steps)
        ):
            return part
        adopted = Batch(part._rows, self._calls, part.failed, columns=part._columns, size=part.size)
        return self._like(adopted)

    def fill(self, positions: Sequence[int], answers: Batch) -> Batch:
        """Give a batch in which the rows at these positions are replaced by the answers, in their order."""
        if answers.size != len(positions):
            raise WrongRows(f"got {answers.size} predictions for {len(positions)} rows; return one per row")
        rows = list(self.rows)
        for position, row in zip(positions, answers.rows, strict=True):
            rows[position] = row
        return self._like(Batch.of(rows, self._calls))

    def fail(self, error: Exception) -> Batch:
        """Give a batch of the same calls in which every row failed: with this error, or with its own from before."""
        rows: list[Any] = [error] * self.size
        if self.failed:
            rows = [row if isinstance(row, Exception) else error for row in self.rows]
        return self._like(Batch(rows, self._calls, self.size))

    @staticmethod
    def concat(parts: Sequence[Batch]) -> Batch:
        """Join batches of one schema, in order."""
        first = parts[0]
        if len(parts) == 1:
            return first
        bare = all(part._calls is None for part in parts)
        if bare and all(part._columns is not None for part in parts):
            names = first._columns or {}
            columns = {n: np.concatenate([(part._columns or {})[n] for part in parts]) for n in names}
            return first._like(Batch.of_columns(columns, first._make))
        rows: list[Any] = []
        calls: list[Call] = []
        for part in parts:
            rows += part.rows
            if not bare:
                calls += part.calls
        return first._like(Batch(rows, None if bare else calls, sum(part.failed for part in parts)))

    def _count(self, part: Batch) -> Batch:
        if self.failed:
            part.failed = sum(isinstance(row, Exception) for row in part._rows or ())
        return part

    def _like(self, part: Batch, calls: list[Call] | None = None) -> Batch:
        """Give a part what it shares with this batch: its priority and, without calls, its steps."""
        if calls is not None:
            part._calls = calls
        part.background = self.background
        if part._calls is None:
            part.steps = self.steps
        return part


def copied(row: Any) -> Any:
    """Copy a row, not what stands in its fields; one that cannot be changed is given as it is."""
    kind = type(row)
    if kind is dict:
        return row.copy()
    return row if kind in UNCHANGING else copy(row)


def as_batch(predictions: Any, name: str) -> Batch:
    """Make a batch of what a node or model gave; `WrongRows` when it is nothing of the kind."""
    if isinstance(predictions, list):
        return Batch.of(predictions)
    if isinstance(predictions, Batch):
        return predictions
    if hasattr(predictions, "columns") and hasattr(predictions, "to_numpy"):  # a DataFrame, without importing pandas
        predictions = {str(column): predictions[column].to_numpy() for column in predictions.columns}
    if isinstance(predictions, Mapping):
        return Batch.of_columns({key: np.asarray(values) for key, values in predictions.items()})
    if isinstance(predictions, str | bytes) or not isinstance(predictions, Iterable):
        raise WrongRows(f"{name} gave {type(predictions).__name__}; return one prediction per row")
    return Batch.of(as_rows(predictions))


def as_rows(predictions: Any) -> list[Any]:
    """Make a list of predictions; a flat array becomes plain numbers, one with more axes an array a row."""
    if isinstance(predictions, np.ndarray) and predictions.ndim == 1:
        values: list[Any] = predictions.tolist()
        return values
    return list(predictions)


def field_names(row: Any) -> tuple[str, ...]:
    """Name the fields of a row; a `TypeError` for a row that has none."""
    if isinstance(row, Mapping):
        return tuple(row)
    if isinstance(row, BaseModel):
        return tuple(type(row).model_fields)
    raise TypeError(f"a row of type {type(row).__name__} has no fields; give rows that are dicts or pydantic models")


def getter(row: Any) -> Callable[..., Callable[[Any], Any]]:
    """Choose how fields are read from rows like this one."""
    return itemgetter if isinstance(row, Mapping) else attrgetter
