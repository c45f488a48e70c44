"""The fields of JSON bodies as columns, found from the bodies themselves and read by DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hansang.record.views import quoted

Kind = Literal["number", "boolean", "text", "length", "list", "mixed"]
NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE"}
MOST_FIELDS = 200
LOOKED_AT = 20_000
LONGEST = 60  # characters of a text that are compared


@dataclass(frozen=True, slots=True)
class Field:
    """One value in every body: where it stands, and what it is.

    `side` is `input` or `output`; `path` names the keys from the outside in, none for a body that is the value itself.
    """

    side: str
    path: tuple[str, ...]
    kind: Kind

    @property
    def name(self) -> str:
        """How it is called in a report."""
        return ".".join(self.path) or self.side

    @property
    def json_path(self) -> str:
        """Where it is, as DuckDB writes it."""
        return "$" + "".join(f'."{key}"' for key in self.path)

    @property
    def sql(self) -> str:
        """The query's expression for its value: a number, or the beginning of a text."""
        return self.value(f"json_extract_string({self.side}, {quoted(self.json_path)})")

    def value(self, text: str) -> str:
        """Give the expression for its value, from the one for its text; of a free text that is the length."""
        match self.kind:
            case "number":
                return f"try_cast({text} AS DOUBLE)"
            case "list":
                return f"CASE WHEN json_valid({text}) THEN json_array_length({text})::DOUBLE END"
            case "length":
                return f"length({text})::DOUBLE"
            case _:
                return f"left({text}, {LONGEST})"


def find_fields(connection: Any, relation: str, side: str) -> list[Field]:
    """Find the fields of the bodies in a column, from at most 20,000 of them, at any depth of objects."""
    some = f"SELECT {side} FROM {relation} WHERE json_valid({side}) LIMIT {LOOKED_AT}"
    ((found,),) = connection.execute(f"SELECT json_group_structure({side}::JSON) FROM ({some})").fetchall()
    if found is None:
        return []
    return list(walk(side, (), json.loads(found)))[:MOST_FIELDS]


def walk(side: str, path: tuple[str, ...], structure: Any) -> Iterator[Field]:
    """Give the fields of a structure as DuckDB tells it: names of types, in objects and arrays."""
    if isinstance(structure, dict):
        for key, inner in structure.items():
            if '"' not in key:
                yield from walk(side, (*path, key), inner)
    elif isinstance(structure, list):
        yield Field(side, path, "list")
    elif structure in NUMBERS:
        yield Field(side, path, "number")
    elif structure == "BOOLEAN":
        yield Field(side, path, "boolean")
    elif structure != "NULL":
        yield Field(side, path, "mixed" if structure == "JSON" else "text")
    else:
        yield Field(side, path, "text")
