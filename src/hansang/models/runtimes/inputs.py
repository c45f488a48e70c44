"""From the rows of a batch to the arrays or frames that a library takes; chosen once, when the model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.extras import require
from hansang.models.signature import Column, Scalar, Signature, Tensor

Reader = Callable[[Batch], Any]

NUMBERS: dict[str, type[np.generic]] = {
    "boolean": np.bool_,
    "integer": np.int32,
    "long": np.int64,
    "float": np.float32,
    "double": np.float64,
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """Numeric fields as one array of shape (rows, fields); a missing value is NaN."""

    fields: tuple[str, ...]
    dtype: np.dtype[Any]

    def __call__(self, batch: Batch) -> np.ndarray:
        """Read the batch."""
        return batch.numpy(self.fields, self.dtype)


@dataclass(frozen=True, slots=True)
class Values:
    """One field as an array whose first axis is the rows; `axes` is how many axes the model wants, if known."""

    field: str
    dtype: np.dtype[Any]
    axes: int | None = None

    def __call__(self, batch: Batch) -> np.ndarray:
        """Read the batch."""
        array = batch.columns((self.field,))[self.field]
        if array.dtype != self.dtype:
            array = np.array(array.tolist() if array.dtype == object else array, self.dtype)
        return array[:, None] if self.axes == 2 and array.ndim == 1 else array


@dataclass(frozen=True, slots=True)
class Frame:
    """Fields as a pandas DataFrame with the types of the signature; text in `categories` becomes categories."""

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    categories: bool = False

    def __call__(self, batch: Batch) -> Any:
        """Read the batch."""
        pandas: Any = require("pandas", "mlflow", "a model with text columns")
        data = {}
        for column, name in zip(self.columns, self.names, strict=True):
            kind = series_type(column, self.categories)
            data[name] = pandas.Series(batch.column(name), dtype=kind)
        return pandas.DataFrame(data)


def series_type(column: Column, categories: bool) -> Any:
    """Choose the pandas type of a column, as MLflow does; an optional whole number is a float, to hold NaN."""
    if not isinstance(column.type, Scalar):
        return object
    kind = column.type.kind
    if kind == "datetime":
        return "datetime64[ns]"
    if kind not in NUMBERS:
        return "category" if categories and kind == "string" else object
    if not column.required and kind != "float":
        return object if kind == "boolean" else np.float64
    return NUMBERS[kind]


def numeric(columns: Sequence[Column]) -> bool:
    """Say whether all columns are scalar numbers or booleans."""
    return all(isinstance(column.type, Scalar) and column.type.kind in NUMBERS for column in columns)


def common_dtype(columns: Sequence[Column]) -> np.dtype[Any]:
    """Choose the dtype that holds all these numeric columns; float64 where one of them may be missing."""
    types = [np.dtype(NUMBERS[c.type.kind]) for c in columns if isinstance(c.type, Scalar)]
    found = np.result_type(*types)
    return found if found.kind == "f" or all(column.required for column in columns) else np.dtype(np.float64)


def narrowed(signature: Signature, fields: Collection[str]) -> Signature:
    """Declare fields as the 32-bit floats that the model makes of them: a larger number is refused, not infinite."""
    pairs = zip(signature.input_names, signature.inputs, strict=True)
    return replace(signature, inputs=tuple(narrow(column) if name in fields else column for name, column in pairs))


def narrow(column: Column) -> Column:
    """Make a 64-bit float column one of 32 bits."""
    if column.type == Scalar("double"):
        return replace(column, type=Scalar("float"))
    if isinstance(column.type, Tensor) and column.type.dtype == "float64":
        return replace(column, type=replace(column.type, dtype="float32"))
    return column


def lone_tensor(signature: Signature) -> Tensor | None:
    """Give the type of the only input if it is a tensor."""
    kind = signature.inputs[0].type if len(signature.inputs) == 1 else None
    return kind if isinstance(kind, Tensor) else None


def ordered(names: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Put names into the order in which the model was trained, where it knows them."""
    return tuple(wanted) if wanted is not None and set(wanted) == set(names) else tuple(names)


def grouped(batch: Batch, key: Callable[[Any], Hashable]) -> list[tuple[Hashable, list[int]]]:
    """Group the rows that may go in one call; each group has the positions of its rows."""
    groups: dict[Hashable, list[int]] = {}
    for position, row in enumerate(batch.rows):
        groups.setdefault(key(row), []).append(position)
    return list(groups.items())


def scattered(size: int, parts: Sequence[tuple[list[int], dict[str, np.ndarray] | list[Any]]]) -> list[Any]:
    """Put the predictions of groups back into the order of the rows."""
    rows: list[Any] = [None] * size
    for positions, answers in parts:
        found = Batch.of_columns(answers).rows if isinstance(answers, dict) else answers
        for position, row in zip(positions, found, strict=True):
            rows[position] = row
    return rows
