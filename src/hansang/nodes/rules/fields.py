"""What a schema says of the fields of its rows: which there are, and which values they can have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import isclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from hansang.codec import resolved
from hansang.errors import SchemaError
from hansang.nodes.rules.source import TIME, Source

Values = frozenset[Any]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a schema; `filled` says that one which is left out has its default."""

    kind: Any
    document: Mapping[str, Any]
    filled: bool

    @property
    def known(self) -> Mapping[str, Any]:
        """The schema of each field."""
        properties: Mapping[str, Any] = self.document["properties"]
        return properties

    def has(self, name: str) -> bool:
        """Say whether rows can have a field."""
        return name in self.known or (isclass(self.kind) and hasattr(self.kind, name))

    def values(self, name: str) -> Values | None:
        """Give the values that a field can have, if they can be counted."""
        found = values_of(self.known[name], self.document) if name in self.known else None
        if found is None or self.filled or name in self.document.get("required", ()):
            return found
        return found | {None}


def fields_of(schema: Any) -> Fields | None:
    """Read a schema; None when it does not say which fields there are, and no others."""
    try:
        document = TypeAdapter(schema).json_schema(by_alias=False)
    except Exception:  # a schema that has no JSON form says nothing here
        return None
    document = {**resolved(document, document), "$defs": document.get("$defs", {})}
    if not document.get("properties") or document.get("additionalProperties") not in (None, False):
        return None
    return Fields(schema, document, isclass(schema) and issubclass(schema, BaseModel))


def values_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Values | None:
    """Give the values that a JSON schema lets pass, if they can be counted: bool, Literal, Enum, null."""
    schema = resolved(schema, root)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        parts = [values_of(choice, root) for choice in choices]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    if "const" in schema:
        return frozenset([schema["const"]])
    if "enum" in schema:
        return frozenset(schema["enum"])
    return {"boolean": frozenset([True, False]), "null": frozenset([None])}.get(str(schema.get("type")))


def possible(source: Source, schema: Any) -> Values | None:
    """Give the values that a rule can see, if they can be counted."""
    if source.kind == "time":
        values = TIME[source.name][1]
        return frozenset(values) if values is not None else None
    if source.kind == "field" and schema is not None:
        fields = fields_of(schema)
        return fields.values(source.name) if fields is not None else None
    return None


def refuse_unknown(sources: Iterable[Source], schema: Any, owner: str) -> None:
    """Refuse a rule that looks at a field which rows of this schema cannot have."""
    fields = fields_of(schema) if schema is not None else None
    for source in sources:
        if fields is not None and source.kind == "field" and not fields.has(source.name):
            raise SchemaError(
                f"{owner} looks at the field {source.name!r}, which the rows do not have; "
                f"{remedy(source.name, fields.known)}"
            )


def remedy(name: str, known: Iterable[str]) -> str:
    """Say what may have been meant."""
    if name in TIME:
        return f"for the time give time.{name}"
    close = get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else f"they have: {', '.join(known)}"
