"""What a model takes and gives, as the JSON strings of an `MLmodel` file say it; read without mlflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hansang.errors import SchemaError

INPUT = "input"
OUTPUT = "prediction"

SCALARS = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of MLflow's scalar types, named in `SCALARS`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Array:
    """A list of any length."""

    items: Type


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any keys and values of one type."""

    values: Type


@dataclass(frozen=True, slots=True)
class Object:
    """An object with named properties."""

    properties: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value, null too."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose first axis is the rows; -1 in the other places of `shape` is any length."""

    dtype: str
    shape: tuple[int, ...]


Type = Scalar | Array | Map | Object | Anything | Tensor


@dataclass(frozen=True, slots=True)
class Column:
    """One input or output; `name` is None for the only, unnamed one."""

    name: str | None
    type: Type
    required: bool = True


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the prediction, with the default that MLflow logged."""

    name: str
    type: Type
    default: Any = None


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs, outputs and params of a model; `outputs` is empty when they are not known.

    `note` says where a signature comes from that was not logged with the model.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    params: tuple[Param, ...] = ()
    note: str = field(default="", compare=False)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The fields of a row; an unnamed input is the field `input`."""
        return names(self.inputs, INPUT)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The fields of a prediction; an unnamed output is the field `prediction`."""
        return names(self.outputs, OUTPUT)


def names(columns: Sequence[Column], single: str) -> tuple[str, ...]:
    """Name every column: its own name, `single` for a lone unnamed one, numbered where there are several."""
    if len(columns) == 1:
        return (single if columns[0].name is None else columns[0].name,)
    return tuple(f"{single}_{n}" if column.name is None else column.name for n, column in enumerate(columns))


def parse_signature(document: Mapping[str, Any] | None) -> Signature | None:
    """Read the `signature` of an `MLmodel` file; None when it has none that names inputs.

    Raises `SchemaError` for a type that MLflow does not define.
    """
    if not document or not document.get("inputs"):
        return None
    return Signature(
        parse_columns(document["inputs"]),
        parse_columns(document.get("outputs") or "[]"),
        tuple(parse_param(item) for item in items(document.get("params") or "[]")),
    )


def parse_columns(text: str | list[Any]) -> tuple[Column, ...]:
    """Read a list of columns or tensors, as JSON text or as already parsed."""
    return tuple(parse_column(item) for item in items(text))


def items(text: str | list[Any]) -> list[Any]:
    """Read a JSON array."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise SchemaError(f"the signature is not JSON: {error}") from error
    if not isinstance(found, list):
        raise SchemaError(f"the signature is a {type(found).__name__}; expected a list of columns")
    return found


def parse_column(item: Mapping[str, Any]) -> Column:
    """Read one column or tensor."""
    required = bool(item.get("required", not item.get("optional", False)))
    return Column(item.get("name"), parse_type(item), required)


def parse_type(item: Any) -> Type:
    """Read a type of MLflow's, in any nesting."""
    if isinstance(item, str):
        item = {"type": item}
    try:
        kind = item["type"]
        if kind in SCALARS:
            return Scalar(kind)
        if kind in NESTED:
            return NESTED[kind](item)
    except (KeyError, TypeError, AttributeError) as error:
        raise SchemaError(f"the signature has an unreadable type {item!r}: {error}") from error
    known = ", ".join((*SCALARS, *NESTED))
    raise SchemaError(f"the signature has an unknown type {kind!r}; expected one of {known}")


def parse_tensor(spec: Mapping[str, Any]) -> Tensor:
    """Read a tensor's dtype and shape."""
    return Tensor(str(np.dtype(spec["dtype"])), tuple(int(n) for n in spec["shape"]))


NESTED: dict[str, Callable[[Any], Type]] = {
    "tensor": lambda item: parse_tensor(item["tensor-spec"]),
    "array": lambda item: Array(parse_type(item["items"])),
    "map": lambda item: Map(parse_type(item["values"])),
    "object": lambda item: Object(tuple(parse_column({**v, "name": k}) for k, v in item["properties"].items())),
    "any": lambda item: Anything(),
    "sparkml-vector": lambda item: Array(Scalar("double")),
}


def parse_param(item: Mapping[str, Any]) -> Param:
    """Read one param; a shape of [-1] makes it a list."""
    inner = parse_type(item)
    return Param(item["name"], Array(inner) if item.get("shape") else inner, item.get("default"))


# --- from an example ---


def infer_signature(rows: Sequence[Mapping[str, Any]]) -> Signature:
    """Guess a signature from example rows; a field that a row leaves out or has null is optional.

    A whole number is taken for a 64-bit integer, a list of numbers under the lone field `input` for a tensor.
    """
    fields = dict.fromkeys(name for row in rows for name in row)
    columns = []
    for name in fields:
        present = [row[name] for row in rows if row.get(name) is not None]
        lone = len(fields) == 1 and name == INPUT
        kind = (infer_tensor(present) if lone else None) or infer_type(present)
        columns.append(Column(None if lone else name, kind, len(present) == len(rows)))
    return Signature(tuple(columns), note="inferred from the input example; log a signature to be exact")


def infer_tensor(values: list[Any]) -> Tensor | None:
    """Take equally long lists of numbers for a tensor."""
    if not values or not all(isinstance(value, list) for value in values):
        return None
    try:
        array = np.array(values)
    except ValueError:
        return None
    return Tensor(str(array.dtype), (-1, *array.shape[1:])) if array.dtype.kind in "fib" else None


def infer_type(values: Iterable[Any]) -> Type:
    """Find the one type of some JSON values; `Anything` when there is none."""
    found = [infer_value(value) for value in values]
    kinds = set(found)
    if len(kinds) == 1:
        return found[0]
    if kinds == {Scalar("long"), Scalar("double")}:
        return Scalar("double")
    return Anything()


def infer_value(value: Any) -> Type:
    """Name the type of one JSON value."""
    if isinstance(value, dict):
        return Object(tuple(Column(name, infer_value(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return Array(infer_type(value))
    kind = {bool: "boolean", int: "long", float: "double", str: "string"}.get(type(value))
    return Scalar(kind) if kind else Anything()
