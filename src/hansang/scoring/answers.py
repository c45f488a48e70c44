"""Predictions on their way out: to Arrow columns, each checked against the output schema as an answer would be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic_core import from_json

from hansang.batch import Batch
from hansang.codec import Codec
from hansang.errors import ModelFailed, Problem
from hansang.models.signature import OUTPUT
from hansang.scoring.check import ARROW, Mask, both, to_arrow, write_any, write_column
from hansang.scoring.fields import Field, plain_fields


class AnswerWriter:
    """Turns an answered batch into columns, and into the error of each row that has no prediction."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.fields = plain_fields(codec.output, output=True) if codec.output is not None else None

    def write(self, answers: Batch) -> tuple[Any, dict[int, Exception]]:
        """Give a table of the predictions, with nulls where a row failed, and the errors by position."""
        columns = answers.whole
        if columns is None or answers.failed:
            return self._rows(answers.rows)
        found = self._columns(columns, answers.size)
        if found is None:
            return self._rows(answers.rows)
        table, valid = found
        if valid is None:
            return table, {}
        doubtful = np.flatnonzero(~valid).tolist()
        rest, errors = self._rows(answers.take(doubtful).rows)
        return interleave([table, rest], [np.flatnonzero(valid), np.array(doubtful)], answers.size), {
            doubtful[position]: error for position, error in errors.items()
        }

    def _columns(self, columns: Mapping[str, np.ndarray], size: int) -> tuple[Any, Mask] | None:
        """Check whole columns; None when they have to be looked at row by row."""
        if self.fields is None:
            made = {name: write_any(values) for name, values in columns.items()}
            usable = self.codec.output is None and made and all(column is not None for column in made.values())
            return (pa.table(made), None) if usable else None
        if not set(self.fields) <= set(columns):
            return None
        table: dict[str, Any] = {}
        valid: Mask = None
        for name, field in self.fields.items():
            table[name], fits = write_column(field, columns[name])
            if table[name] is None:
                return None
            valid = both(valid, fits)
        return pa.table(table), valid

    def _rows(self, rows: Sequence[Any]) -> tuple[Any, dict[int, Exception]]:
        """Write each prediction as the body of an answer would have it."""
        values: list[Any] = []
        errors: dict[int, Exception] = {}
        for position, row in enumerate(rows):
            value: Any = None
            if isinstance(row, Exception):
                errors[position] = row
            else:
                try:
                    value = from_json(self.codec.encode(row))
                except Problem as error:
                    errors[position] = error
                except Exception as error:  # a prediction's own methods may raise anything
                    errors[position] = ModelFailed(f"the prediction cannot be written: {error}")
            values.append(value)
        return self._table(values, errors), errors

    def _table(self, values: list[Any], errors: Mapping[int, Exception]) -> Any:
        """Give predictions as columns: an object's fields, or one column of bare values."""
        answered = [value for position, value in enumerate(values) if position not in errors]
        if not answered:
            return pa.table({}) if self.fields is None else self._declared(values)
        if not all(isinstance(value, dict) for value in answered):
            return pa.table({OUTPUT: column_of(values)})
        names = dict.fromkeys(name for value in answered for name in value)
        return pa.table(
            {name: column_of([(value or {}).get(name) for value in values], self._type(name)) for name in names}
        )

    def _declared(self, values: list[Any]) -> Any:
        fields = self.fields or {}
        return pa.table({name: pa.nulls(len(values), arrow_type(field)) for name, field in fields.items()})

    def _type(self, name: str) -> Any:
        field = (self.fields or {}).get(name)
        return None if field is None else arrow_type(field)


def arrow_type(field: Field) -> Any:
    """Give the Arrow type of an output field."""
    return pa.list_(ARROW[field.items.kind]) if field.items is not None else ARROW[field.kind]


def column_of(values: list[Any], kind: Any = None) -> Any:
    """Make an Arrow column of JSON values; JSON text where they have no one type."""
    try:
        column = pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([as_json(value) for value in values], pa.string())
    return column if storable(column.type) else pa.array([as_json(value) for value in values], pa.string())


def storable(kind: Any) -> bool:
    """Say whether Parquet can hold a type; a struct must have fields."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(storable(kind.field(n).type) for n in range(kind.num_fields))
    return storable(kind.value_type) if pa.types.is_list(kind) else True


def as_json(value: Any) -> str | None:
    """Write a value as JSON text."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def interleave(tables: Sequence[Any], positions: Sequence[np.ndarray], size: int) -> Any:
    """Put the rows of tables in their places; a place that none of them fills is null.

    A table has all `size` rows already, of which only those at its positions count, or just its own.
    """
    parts, order, offset = [], np.full(size, -1, np.int64), 0
    for table, places in zip(tables, positions, strict=True):
        if table.num_columns and len(places):
            order[places] = offset + (places if table.num_rows == size else np.arange(len(places)))
            offset += table.num_rows
            parts.append(table)
    if not parts:
        return pa.table({})
    joined = join(parts)
    return joined.take(to_arrow(order, order >= 0))


def join(tables: Sequence[Any]) -> Any:
    """Put tables under each other, whatever columns and types each of them has."""
    schema = unified([table.schema for table in tables])
    return pa.concat_tables([fitted(table, schema) for table in tables]).combine_chunks()


def unified(schemas: Sequence[Any]) -> Any:
    """Find a schema that holds the rows of all these; a column without one type is JSON text."""
    try:
        return pa.unify_schemas(list(schemas), promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        fields: dict[str, Any] = {}
        for field in (field for schema in schemas for field in schema):
            fields[field.name] = merged(fields.get(field.name), field)
        return pa.schema(list(fields.values()))


def merged(first: Any, second: Any) -> Any:
    """Find the field of two fields of one name."""
    if first is None:
        return second
    try:
        return pa.unify_schemas([pa.schema([first]), pa.schema([second])], promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.field(first.name, pa.string())


def fitted(table: Any, schema: Any) -> Any:
    """Bring a table to a schema."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            column = table.column(field.name)
            columns.append(column if column.type == field.type else cast(column, field.type))
    return pa.table(columns, schema=schema)


def cast(column: Any, kind: Any) -> Any:
    """Bring a column to a type; to text as JSON."""
    if pa.types.is_string(kind) and not pa.types.is_null(column.type):
        return pa.array([as_json(value) for value in column.to_pylist()], pa.string())
    return column.cast(kind)
