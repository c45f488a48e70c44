"""A body becomes rows, and outcomes become a body; each side by its schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from hansang.errors import BadRequest, InvalidRow, ModelFailed, Problem, SchemaError

NUMBERS = frozenset({"integer", "number", "boolean", "null"})
MOST_FAULTS = 100
LONGEST_NAME = 100


class Codec:
    """Reads rows and writes predictions of one endpoint.

    `input` and `output` are anything pydantic makes a schema of; without `output` predictions are written as they
    are. A row is always a JSON object, so that an object is one row and an array is many.
    """

    def __init__(self, input: Any, output: Any = None) -> None:
        self.input, self.output = adapter(input), adapter(output) if output is not None else None
        self.many: TypeAdapter[Any] = TypeAdapter(list[input])
        self.schema = self.input.json_schema()
        if resolved(self.schema, self.schema).get("type") != "object":
            raise SchemaError(f"the input schema {input!r} is not an object; a row has named fields")
        self.read_row = self.input.validator.validate_json
        self.read_rows = self.many.validator.validate_json
        self.closed = closed(self.schema)
        self.uploads = upload_fields(self.schema)
        self._quotes = 2 * len(self.schema.get("properties", ())) if flat_numbers(self.schema) else -1
        self._names = sorted({json.dumps(name).encode() for name in property_names(self.schema)})
        required = resolved(self.schema, self.schema).get("required", ())
        self._always = frozenset(json.dumps(name).encode() for name in required)
        self._open_keys = has_open_keys(self.schema) or any(b"/" in name for name in self._names)
        self._nonfinite = takes_nonfinite(self.input.core_schema)
        self._input_json = self.input.serializer.to_json
        if self.output is not None:
            self._check = self.output.validator.validate_python
            self._output_json = self.output.serializer.to_json
            self.encode: Callable[[Any], bytes] = self._encode_declared
        else:
            self.encode = encode_any

    # --- in ---

    def one(self, body: bytes) -> Any:
        """Read one row from an object; raises `BadRequest` or `InvalidRow`."""
        try:
            row = self.read_row(body)
        except ValidationError as error:
            raise refused(error) from None
        if body.count(b'"') != self._quotes or (self._nonfinite and not finite(row)):
            row = self._strict(body, [row], many=False)[0]
            if isinstance(row, Problem):
                raise row
        return row

    def array(self, body: bytes) -> list[Any]:
        """Read many rows from an array; a row that does not fit is an `InvalidRow` in its place."""
        try:
            rows: list[Any] = self.read_rows(body)
        except ValidationError as error:
            problem = refused(error)
            if isinstance(problem, BadRequest):
                raise problem from None
            return self._strict(body, self._salvage(body), many=True)
        if not rows:
            fault = {"loc": [], "type": "too_short", "msg": "an array of rows needs at least one row"}
            raise InvalidRow("the array is empty", errors=[fault])
        if body.count(b'"') != self._quotes * len(rows) or (self._nonfinite and not all(map(finite, rows))):
            rows = self._strict(body, rows, many=True)
        return rows

    def values(self, values: Mapping[str, Any]) -> Any:
        """Read one row from form fields: text is converted where the schema asks for a number."""
        try:
            return self.input.validate_python(values, strict=False)
        except ValidationError as error:
            raise refused(error) from None

    def _salvage(self, body: bytes) -> list[Any]:
        items = from_json(body)
        if not isinstance(items, list):
            raise InvalidRow("expected an object or an array", errors=[])
        rows: list[Any] = []
        for item in items:
            try:
                rows.append(self.read_row(to_json(item, inf_nan_mode="constants")))
            except ValidationError as error:
                rows.append(refused(error))
        return rows

    def _strict(self, body: bytes, rows: list[Any], *, many: bool) -> list[Any]:
        """Refuse what pydantic's reader lets pass but JSON does not mean: a name twice, NaN, a number like 1e999.

        Gives the rows, with an `InvalidRow` in the place of a refused one; raises `BadRequest` for NaN.
        """
        suspicious = (
            self._open_keys or b"\\u" in body or b"NaN" in body or b"Infinity" in body or self._twice(body, rows)
        )
        if suspicious:
            text = body.decode()
            for number, piece in enumerate(elements(text) if many else [text]):
                try:
                    json.loads(piece, object_pairs_hook=unique_names, parse_constant=no_constant)
                except InvalidRow as error:
                    rows[number] = error
        return [row if finite(row) else refuse_nonfinite(row) for row in rows] if self._nonfinite else rows

    def _twice(self, body: bytes, rows: list[Any]) -> bool:
        """Say whether a name may stand twice in an object: names of fields that every row has may stand in each."""
        whole = not any(isinstance(row, Problem) for row in rows)
        return any(body.count(name) > (len(rows) if whole and name in self._always else 1) for name in self._names)

    def input_json(self, row: Any, context: Any = None) -> bytes:
        """Write a row as it was read, defaults included; uploads by their hash, see `types.written`."""
        # without warnings, for a function of the request may make rows of any type
        return self._input_json(row, warnings=False, context=context)

    # --- out ---

    def _encode_declared(self, value: Any) -> bytes:
        try:
            checked = self._check(value)
        except ValidationError:
            try:
                checked = self._check(plain(value))
            except ValidationError as error:
                fault = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(map(str, fault["loc"]))
                raise ModelFailed(f"the prediction does not fit the output schema: {place}: {fault['msg']}") from error
        return self._output_json(checked)


def encode_any(value: Any) -> bytes:
    """Write a prediction that has no schema; numpy values as plain ones, non-finite numbers as null."""
    try:
        return to_json(value, inf_nan_mode="null", fallback=plain_leaf)
    except (TypeError, ValueError) as error:
        raise ModelFailed(f"the prediction cannot be written as JSON: {error}") from error


def adapter(schema: Any) -> TypeAdapter[Any]:
    """Make pydantic's adapter of a schema; a schema it cannot read is a `SchemaError`."""
    try:
        return TypeAdapter(schema)
    except Exception as error:  # pydantic raises several kinds for schemas it cannot build
        raise SchemaError(f"{schema!r} is not a schema: {error}") from error


def refused(error: ValidationError) -> Problem:
    """Say what is wrong with a body, without repeating what the client sent."""
    faults = error.errors(include_url=False, include_input=False)
    if faults[0]["type"] == "json_invalid" and not faults[0]["loc"]:
        return BadRequest(f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}")
    errors = [
        {
            "loc": [part[:LONGEST_NAME] if isinstance(part, str) else part for part in fault["loc"]],
            "type": fault["type"],
            "msg": message(fault),
        }
        for fault in faults[:MOST_FAULTS]
    ]
    count = len(faults)
    return InvalidRow(f"{count} {'fault' if count == 1 else 'faults'} in the row", errors=errors)


def message(fault: ErrorDetails) -> str:
    """Give pydantic's message, except where it quotes the client."""
    if fault["type"] == "union_tag_invalid":
        return f"Input tag does not match any of the expected tags: {fault['ctx']['expected_tags']}"
    if fault["type"] == "uuid_parsing":
        return "Input should be a valid UUID"
    return fault["msg"]


PLAIN = frozenset({str, int, bool, type(None)})


def finite(value: Any) -> bool:
    """Say whether there is neither NaN nor infinity in a row; quick, for it looks at every row."""
    kind = type(value)
    if kind is float:
        return bool(value - value == 0.0)
    if kind in PLAIN or isinstance(value, Enum):  # a member is what the service declared, and knows itself
        return True
    items = value if kind is list else value.values() if kind is dict else getattr(value, "__dict__", {}).values()
    for item in items:
        kind = type(item)
        if kind not in PLAIN and not (item - item == 0.0 if kind is float else finite(item)):
            return False
    return True


def refuse_nonfinite(row: Any) -> Any:
    """Give a row, or what is wrong with it when a number is too large for a float and was read as infinity."""
    places = list(nonfinite_places(row, ()))
    if not places:
        return row
    fault = {"type": "finite_number", "msg": "Input should be a finite number"}
    count = f"{len(places)} {'fault' if len(places) == 1 else 'faults'} in the row"
    return InvalidRow(count, errors=[{"loc": list(place), **fault} for place in places[:MOST_FAULTS]])


def nonfinite_places(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Find the NaN and infinities in a row."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place
        return
    if isinstance(value, BaseModel):
        value = dict(value)
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from nonfinite_places(item, (*place, key))


def elements(text: str) -> Iterator[str]:
    """Give the text of each element of a JSON array."""
    read = json.JSONDecoder().raw_decode
    start = text.index("[") + 1
    while True:
        while text[start] in " \t\n\r,":
            start += 1
        if text[start] == "]":
            return
        _, end = read(text, start)
        yield text[start:end]
        start = end


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that names a field twice."""
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            fault = {"loc": [name], "type": "duplicate_name", "msg": "the name stands twice in one object"}
            raise InvalidRow("1 fault in the row", errors=[fault])
        names[name] = value
    return names


def no_constant(name: str) -> None:
    """Refuse the constants that Python's reader takes and JSON does not have."""
    raise BadRequest(f"the body is not JSON: {name} is not a JSON value")


# --- what a schema says ---


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a schema's `$ref`."""
    while "$ref" in schema:
        schema = root.get("$defs", {}).get(str(schema["$ref"]).rsplit("/", 1)[-1], {})
    return schema


def closed(schema: Mapping[str, Any]) -> bool:
    """Say whether rows can hold nothing but what is declared, flat and with nothing filled in."""
    properties = schema.get("properties", {})
    return (
        schema.get("additionalProperties") is False
        and flat_numbers(schema)
        and set(schema.get("required", ())) == set(properties)
    )


def flat_numbers(schema: Mapping[str, Any]) -> bool:
    """Say whether rows are flat objects of numbers, all required: quotes then stand around names only."""
    properties = schema.get("properties", {})
    return bool(properties) and all(
        kind.get("type") in NUMBERS and "enum" not in kind and name in schema.get("required", ())
        for name, kind in properties.items()
    )


def takes_nonfinite(schema: Any) -> bool:
    """Say whether some field of a core schema lets infinity pass, so that it must be looked for."""
    return any(
        part.get("type") == "any" or (part.get("type") == "float" and part.get("allow_inf_nan") is None)
        for part in walk_schema(schema)
    )


def walk_schema(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Give every schema inside a schema."""
    if isinstance(schema, Mapping):
        yield schema
        for value in schema.values():
            yield from walk_schema(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from walk_schema(value)


def property_names(schema: Any) -> set[str]:
    """Give all names that objects of this schema can have."""
    return {str(name) for part in walk_schema(schema) for name in part.get("properties", {}) or ()}


def has_open_keys(schema: Any) -> bool:
    """Say whether some object's names are not all declared."""
    return any(
        part.get("type") == "object" and part.get("additionalProperties") not in (None, False)
        for part in walk_schema(schema)
    )


def upload_fields(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the fields that are files."""
    fields = []
    for name, kind in resolved(schema, schema).get("properties", {}).items():
        if any(part.get("x-hansang-upload") for part in walk_schema(kind)):
            fields.append(str(name))
    return tuple(fields)


def with_null(schema: Any) -> Any:
    """Let every number of a prediction's schema be null, for that is how NaN and infinity are written."""
    if isinstance(schema, Mapping):
        changed = {key: with_null(value) for key, value in schema.items()}
        return changed | {"type": ["number", "null"]} if schema.get("type") == "number" else changed
    return [with_null(value) for value in schema] if isinstance(schema, list) else schema


# --- plain values ---


def plain_leaf(value: Any) -> Any:
    """Turn a numpy value into a plain one, for pydantic's writer."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form; return plain values or declare an output schema")


def plain(value: Any) -> Any:
    """Turn numpy values anywhere in a prediction into plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def count_nonfinite(value: Any) -> int:
    """Count NaN and infinities in a prediction."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, np.ndarray):
        return int(value.size - np.isfinite(value).sum()) if value.dtype.kind == "f" else 0
    if isinstance(value, BaseModel):
        return sum(count_nonfinite(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return sum(count_nonfinite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(count_nonfinite(item) for item in value)
    return 0
