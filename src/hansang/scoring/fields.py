"""What a schema asks of each field, where it is plain enough to be checked a column at a time.

Read from pydantic's core schema, which, unlike a JSON schema, also shows validators, aliases and strictness. Whatever
is not listed here makes the schema not plain, and its rows are validated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator, ValidationError

BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
PASSING = {"type", "metadata", "ref", "strict"}
KEYS = {
    "int": {"ge", "gt", "le", "lt", "multiple_of"},
    "float": {"ge", "gt", "le", "lt", "allow_inf_nan"},
    "str": {"min_length", "max_length", "pattern"},
    "bool": set[str](),
    "literal": {"expected"},
}
CONFIG = {"title", "strict", "extra_fields_behavior", "ser_json_bytes", "ser_json_inf_nan", "ser_json_timedelta"} | {
    "val_json_bytes",
    "frozen",
    "loc_by_alias",
    "hide_input_in_errors",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One plain field: an int, float, str or bool, or (in predictions) a list of them.

    `bounds` holds pydantic's words for limits; `matches` checks one text against a pattern; `default` counts where
    the field is not `required`.
    """

    name: str
    kind: str
    strict: bool
    required: bool
    bounds: Mapping[str, Any]
    nullable: bool = False
    default: Any = None
    finite: bool = False
    choices: tuple[Any, ...] | None = None
    matches: Callable[[str], bool] | None = None
    items: Field | None = None


class NotPlain(Exception):
    """The schema holds something that is not checked by column."""


def plain_fields(adapter: TypeAdapter[Any], *, output: bool = False) -> dict[str, Field] | None:
    """Give the fields of a schema by name, or None when it is not plain; `output` allows lists."""
    try:
        return read_object(adapter.core_schema, output)
    except NotPlain:
        return None


def read_object(schema: Any, output: bool) -> dict[str, Field]:
    """Read a pydantic model or a TypedDict."""
    schema = unwrapped(schema)
    config = schema.get("config", {})
    if set(config) - CONFIG or "serialization" in schema or (output and not closed(schema, config)):
        raise NotPlain
    inner = schema
    if schema["type"] == "model":
        if schema.get("custom_init") or schema.get("post_init") or schema.get("root_model"):
            raise NotPlain
        inner = schema["schema"]
    if inner["type"] not in ("model-fields", "typed-dict") or (output and inner.get("computed_fields")):
        raise NotPlain
    strict = bool(schema.get("strict", config.get("strict", False)))
    return {name: read_field(name, field, config, strict, output) for name, field in inner["fields"].items()}


def unwrapped(schema: Any) -> Any:
    """Unwrap a schema that comes with definitions."""
    if schema["type"] != "definitions":
        return schema
    refs = {part["ref"]: part for part in schema["definitions"]}
    inner = schema["schema"]
    return refs.get(inner["schema_ref"], inner) if inner["type"] == "definition-ref" else inner


def closed(schema: Any, config: Mapping[str, Any]) -> bool:
    """Say whether what a prediction has beyond its schema is left out, and infinity is written as null."""
    extra = schema.get("extra_behavior") or config.get("extra_fields_behavior") or "ignore"
    return extra == "ignore" and config.get("ser_json_inf_nan", "null") == "null"


def read_field(name: str, field: Any, config: Mapping[str, Any], strict: bool, output: bool) -> Field:
    """Read one field of an object."""
    moved = field.get("validation_alias", name) != name or field.get("serialization_alias", name) != name
    if moved or field.get("serialization_exclude"):
        raise NotPlain
    schema, facts = field["schema"], {"required": field.get("required", True), "nullable": False, "default": None}
    if schema["type"] == "default":
        if not plain_default(schema):
            raise NotPlain
        facts |= {"required": False, "default": schema["default"]}
        schema = schema["schema"]
    elif not facts["required"]:
        raise NotPlain  # a field of a TypedDict that may be absent from the row
    if schema["type"] == "nullable":
        plain_keys(schema, {"schema"})
        facts["nullable"], schema = True, schema["schema"]
    return read_value(name, schema, config, strict, output, facts)


def plain_default(schema: Any) -> bool:
    """Say whether a default is a plain value that is taken as it is."""
    value = schema.get("default", NotPlain)
    known = {"default", "schema", "copy_default", "validate_default"} | PASSING
    return (value is None or type(value) in (bool, int, float, str)) and not (
        set(schema) - known or schema.get("validate_default")
    )


def plain_keys(schema: Any, allowed: set[str]) -> None:
    """Refuse a schema that says more than is understood here."""
    if set(schema) - allowed - PASSING:
        raise NotPlain


def read_value(
    name: str, schema: Any, config: Mapping[str, Any], strict: bool, output: bool, facts: dict[str, Any]
) -> Field:
    """Read the schema of a value."""
    kind = schema["type"]
    strict = bool(schema.get("strict", strict))
    if kind == "list" and output:
        return read_list(name, schema, config, strict, facts)
    if kind not in KEYS:
        raise NotPlain
    plain_keys(schema, KEYS[kind])
    if kind == "literal":
        return read_literal(name, schema["expected"], facts)
    bounds = {key: schema[key] for key in BOUNDS if schema.get(key) is not None}
    finite = schema.get("allow_inf_nan", True) is False
    matches = matcher(schema, config) if "pattern" in schema else None
    return Field(name, kind, strict, bounds=bounds, finite=finite, matches=matches, **facts)


def read_literal(name: str, expected: list[Any], facts: dict[str, Any]) -> Field:
    """Read a choice of texts or of whole numbers."""
    for kind, type_ in (("str", str), ("int", int)):
        if all(type(value) is type_ for value in expected):
            return Field(name, kind, True, bounds={}, choices=tuple(expected), **facts)
    raise NotPlain


def read_list(name: str, schema: Any, config: Mapping[str, Any], strict: bool, facts: dict[str, Any]) -> Field:
    """Read a list of plain values, as models give probabilities."""
    plain_keys(schema, {"items_schema", "min_length", "max_length"})
    inner, nullable = schema.get("items_schema", {"type": "any"}), False
    if inner["type"] == "nullable":
        plain_keys(inner, {"schema"})
        inner, nullable = inner["schema"], True
    items = read_value(name, inner, config, strict, False, {"required": True, "nullable": nullable, "default": None})
    if items.kind == "str":
        raise NotPlain
    bounds = {key: schema[key] for key in BOUNDS if schema.get(key) is not None}
    return Field(name, "list", strict, bounds=bounds, items=items, **facts)


def matcher(schema: Any, config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Give pydantic's own check of one text, for patterns that Arrow might read in another way."""
    validator = SchemaValidator(schema, dict(config) or None)  # type: ignore[arg-type]  # a core config is a dict

    def matches(text: str) -> bool:
        try:
            return bool(validator.validate_python(text) == text)
        except ValidationError:
            return False

    return matches
