"""Rows one by one, through the same codec as the rows of a request; the way of all that is not plain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from hansang.codec import Codec, resolved
from hansang.errors import BadRequest, InvalidRow, Problem, status_of
from hansang.scoring.chunk import Chunk

TRUE, FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")


class RowReader:
    """Reads rows of a chunk by the endpoint's codec; gives a row, or the `Problem` of one that does not fit."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        schema = resolved(codec.schema, codec.schema)
        self.properties = {name: resolved(kind, codec.schema) for name, kind in schema.get("properties", {}).items()}
        self.nullable = {name for name, kind in self.properties.items() if takes(kind, "null", codec.schema)}
        self.texts = {name for name, kind in self.properties.items() if takes(kind, "string", codec.schema)}
        self.required = set(schema.get("required", ()))

    def read(self, chunk: Chunk, positions: Sequence[int]) -> list[Any]:
        """Read the rows at these positions."""
        if not positions:
            return []
        if chunk.form == "lines":
            return [self.one(chunk.lines[position]) for position in positions]
        if chunk.form == "files":
            return [self.file(chunk.lines[position]) for position in positions]
        known = [name for name in self.properties if name in chunk.table.column_names]
        rows = chunk.table.select(known).take(list(positions)).to_pylist() if known else [{} for _ in positions]
        return [self.cells(row) if chunk.form == "text" else self.values(row) for row in rows]

    def one(self, body: bytes) -> Any:
        """Read a row from its JSON."""
        try:
            return self.codec.one(body)
        except Problem as error:
            return error
        except ValueError as error:  # a nesting too deep for Python's reader, numbers beyond any limit
            return BadRequest(f"the row cannot be read: {error}")

    def file(self, path: bytes) -> Any:
        """Read a row whose only field is a file."""
        try:
            return self.codec.values({self.codec.uploads[0]: Path(path.decode()).read_bytes()})
        except OSError as error:
            return BadRequest(f"the file cannot be read: {error.strerror}")
        except Problem as error:
            return error

    def values(self, row: Mapping[str, Any]) -> Any:
        """Read a row from typed values; one that is missing is left out where the schema does not take null."""
        present: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, float) and math.isinf(value):
                return not_finite(name)
            missing = value is None or (isinstance(value, float) and math.isnan(value))
            if not missing or name in self.nullable:
                present[name] = None if missing else value
        try:
            return self.one(to_json(present, bytes_mode="base64", inf_nan_mode="constants"))
        except ValueError as error:
            return BadRequest(f"the row has no JSON form: {error}")

    def cells(self, row: Mapping[str, bytes | None]) -> Any:
        """Read a row from the cells of a CSV file, where the schema says what is text."""
        try:
            present = {
                name: None if cell is None else self.cell(name, cell.decode())
                for name, cell in row.items()
                if cell is not None or name in self.nullable or name in self.texts & self.required
            }
        except UnicodeDecodeError:
            return BadRequest("the row is not UTF-8")
        for name in (self.texts & self.required) - self.nullable:
            if name in present and present[name] is None:
                present[name] = ""  # a CSV file does not tell an empty text from no text
        return self.one(to_json(present))

    def cell(self, name: str, text: str) -> Any:
        """Give the JSON value of a cell: text where the schema takes text, else what the text says."""
        kind = self.properties[name]
        if name in self.texts:
            return text
        if takes(kind, "boolean", self.codec.schema) and text in TRUE + FALSE:
            return text in TRUE
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            return text


def takes(kind: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> bool:
    """Say whether a JSON schema takes values of this type at its top; one that says nothing takes null."""
    if not any(word in kind for word in ("type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref")):
        return name == "null"
    tops = [resolved(part, root) for part in kind.get("anyOf") or kind.get("oneOf") or [kind]]
    choices = [value for part in tops for value in part.get("enum", [part["const"]] if "const" in part else [])]
    types = {"string": str, "null": type(None), "boolean": bool}
    return any(part.get("type") == name for part in tops) or any(type(value) is types[name] for value in choices)


def not_finite(name: str) -> InvalidRow:
    """Refuse infinity, which JSON does not have."""
    fault = {"loc": [name], "type": "finite_number", "msg": "Input should be a finite number"}
    return InvalidRow("1 fault in the row", errors=[fault])


def explain(error: BaseException) -> str:
    """Write an error into the output: its status, and for an invalid row each field with what is wrong with it."""
    status = status_of(error)
    if isinstance(error, Problem) and error.errors:
        faults = "; ".join(
            ": ".join((".".join(map(str, fault["loc"])) or "row", fault["msg"])) for fault in error.errors
        )
        return f"{status}: {faults}"
    return f"{status}: {str(error) or type(error).__name__}"
