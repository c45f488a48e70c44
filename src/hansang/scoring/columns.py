"""A chunk's columns on their way in: from files to the arrays that a model takes, without a Python object a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from hansang.scoring.check import ARROW, Mask, both, read_column, to_numpy
from hansang.scoring.chunk import Chunk
from hansang.scoring.fields import Field, plain_fields
from hansang.scoring.rows import FALSE, TRUE

NUMBERS = {
    "int": r"^-?(0|[1-9][0-9]{0,17})$",
    "float": r"^-?(0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?$",
}


class ColumnReader:
    """Reads the columns of a plain schema; `make` turns a dict into a row where rows are pydantic models."""

    def __init__(self, fields: Mapping[str, Field], make: Callable[[dict[str, Any]], Any] | None) -> None:
        self.fields = fields
        self.make = make

    def read(self, chunk: Chunk) -> tuple[dict[str, np.ndarray], Mask]:
        """Give the columns, and which rows are valid for sure."""
        columns: dict[str, np.ndarray] = {}
        valid: Mask = None
        for name, field in self.fields.items():
            column, read = chunk_column(chunk, name), None
            if column is not None and chunk.form == "text":
                column, read = typed(field, column)
            columns[name], fits = read_column(field, column, chunk.rows)
            valid = both(valid, both(read, fits))
        if chunk.unread:
            readable = np.ones(chunk.rows, bool)
            readable[list(chunk.unread)] = False
            valid = both(valid, readable)
        return columns, valid


def column_reader(schema: Any) -> ColumnReader | None:
    """Make the reader of a schema, or None when it is not plain."""
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    fields = plain_fields(adapter)
    if not fields:
        return None
    is_dict = adapter.core_schema["type"] == "typed-dict"
    return ColumnReader(fields, None if is_dict else adapter.validator.validate_python)


def chunk_column(chunk: Chunk, name: str) -> Any:
    """Give one column of a chunk as one Arrow array, or None."""
    if name not in chunk.table.column_names:
        return None
    column = chunk.table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def as_text(column: Any) -> tuple[Any, Mask]:
    """Read bytes as UTF-8; those that are not become null."""
    try:
        return column.cast(pa.string()), None
    except pa.ArrowInvalid:
        texts = [decoded(cell) for cell in column.to_pylist()]
        good = np.array(
            [text is not None or cell is None for text, cell in zip(texts, column.to_pylist(), strict=True)]
        )
        return pa.array(texts, pa.string()), good


def decoded(cell: bytes | None) -> str | None:
    """Read one cell as UTF-8, if it is."""
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None


def typed(field: Field, column: Any) -> tuple[Any, Mask]:
    """Read the cells of a CSV file as a field's type, as JSON would; the rest becomes null and is not vouched for."""
    column, good = as_text(column)
    if field.kind == "str":
        return (column if field.nullable or not field.required else column.fill_null("")), good
    if field.kind == "bool":
        yes = pc.is_in(column, value_set=pa.array(TRUE))
        known = pc.or_(yes, pc.is_in(column, value_set=pa.array(FALSE)))
        value = pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
    else:
        known = pc.match_substring_regex(column, NUMBERS[field.kind])
        value = pc.if_else(known, column, pa.scalar(None, pa.string())).cast(ARROW[field.kind])
    read = to_numpy(pc.or_(known.fill_null(False), column.is_null()))
    return value, both(good, None if read.all() else read)
