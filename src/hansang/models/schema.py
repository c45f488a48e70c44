"""Types for pydantic made from a model's signature: strict, and with rows that stay plain dicts.

A row is always a JSON object. Nothing is coerced: "1" is not 1, 1.5 is not 1, true is not 1, "abc" is not true; whole
numbers do for floats. Numbers outside the declared type's range, NaN and Infinity are refused.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter
from pydantic_core import PydanticCustomError, to_json, to_jsonable_python
from typing_extensions import TypedDict

from hansang.errors import SchemaError
from hansang.models.signature import (
    Anything,
    Array,
    Column,
    Map,
    Object,
    Param,
    Scalar,
    Signature,
    Tensor,
    Type,
    infer_signature,
)

PARAMS = "params"

# Their fields are known at run time only, which the type checker cannot follow.
make_typed_dict: Any = TypedDict
not_required: Any = NotRequired
list_of: Any = list
dict_of: Any = dict

CONFIG = ConfigDict(
    strict=True,
    extra="forbid",
    ser_json_inf_nan="null",
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_timedelta="iso8601",
)


def to_base64(value: bytes) -> str:
    """Write bytes as JSON text."""
    return base64.b64encode(value).decode()


# The configuration of a TypedDict says how its bytes are read, but not how they are written.
BYTES = Annotated[bytes, PlainSerializer(to_base64, return_type=str, when_used="json")]

HOW_TO_SIGN = (
    "log it with a signature or an input example: mlflow.<flavor>.log_model(..., "
    "signature=infer_signature(X, y), input_example=X[:2])"
)

WORDS = {
    "boolean": "true or false",
    "integer": "whole number, 32 bits",
    "long": "whole number, 64 bits",
    "float": "number, 32-bit float",
    "double": "number, 64-bit float",
    "string": "text",
    "binary": "bytes, base64",
    "datetime": "date and time, ISO 8601",
}


def input_schema(
    signature: Signature | None, example: Sequence[Mapping[str, Any]] | None = None, name: str = "Row"
) -> Any:
    """Make the type of a row, for `TypeAdapter`; the example rows show up in its JSON schema.

    An optional column that is missing or null is None in the validated row. A model with params takes them as the
    optional object `params`, filled up with their defaults. Raises `SchemaError` when there is neither a signature
    nor an example to infer one from.
    """
    if signature is None and not example:
        raise SchemaError(f"the model has neither a signature nor an input example; {HOW_TO_SIGN}")
    signature = signature or infer_signature(example or ())
    shown = [to_jsonable_python(dict(row), bytes_mode="base64") for row in (example or ())[:1]]
    first = shown[0] if shown else {}
    make = Maker(nullable=False)
    columns = zip(signature.input_names, signature.inputs, strict=True)
    fields = {key: make.field(column, key, f"{name}_{key}", first) for key, column in columns}
    if signature.params:
        if PARAMS in fields:
            raise SchemaError("the model has both params and a column named 'params'; rename the column")
        fields[PARAMS] = params_field(signature.params, f"{name}_params")
    return typed_dict(name, fields, make.config, signature.note, shown)


def output_schema(signature: Signature | None, name: str = "Prediction") -> Any:
    """Make the type of a prediction; a float that is not finite is null in JSON, unknown outputs are any object."""
    if signature is None or not signature.outputs:
        return dict[str, Any]
    make = Maker(nullable=True)
    columns = zip(signature.output_names, signature.outputs, strict=True)
    fields = {key: make.field(column, key, f"{name}_{key}", {}) for key, column in columns}
    return typed_dict(name, fields, make.config)


class Maker:
    """Makes Python types of signature types; with `nullable`, floats may be null or not finite, as in outputs."""

    def __init__(self, nullable: bool) -> None:
        self.nullable = nullable
        self.config = ConfigDict(**{**CONFIG, "extra": "ignore"}) if nullable else CONFIG

    def field(self, column: Column, key: str, name: str, example: Mapping[str, Any]) -> Any:
        """Make the type of one field; an optional one is None when it is left out."""
        info: dict[str, Any] = {"description": describe(column)}
        if example.get(key) is not None:
            info["examples"] = [example[key]]
        kind: Any = self.type(column.type, name)
        if column.required:
            return Annotated[kind, Field(**info)]
        optional: Any = kind | None
        return not_required[Annotated[optional, Field(default=None, **info)]]

    def type(self, kind: Type, name: str) -> Any:
        """Make the type of a value."""
        match kind:
            case Scalar():
                return self.scalar(kind.kind)
            case Array():
                return list_of[self.type(kind.items, f"{name}_item")]
            case Map():
                return dict_of[str, self.type(kind.values, f"{name}_value")]
            case Object():
                properties = {p.name or "": p for p in kind.properties}
                fields = {key: self.field(p, key, f"{name}_{key}", {}) for key, p in properties.items()}
                return typed_dict(name, fields, self.config)
            case Tensor():
                return self.tensor(kind)
            case Anything():
                return Any if self.nullable else Annotated[Any, AfterValidator(finite)]

    def scalar(self, kind: str) -> Any:
        """Make the type of an MLflow scalar."""
        match kind:
            case "integer":
                return whole(np.dtype(np.int32))
            case "long":
                return whole(np.dtype(np.int64))
            case "float":
                return self.real(np.dtype(np.float32))
            case "double":
                return self.real(np.dtype(np.float64))
            case "datetime":
                return Annotated[datetime.datetime, BeforeValidator(read_datetime)]
        return {"boolean": bool, "string": str, "binary": BYTES}[kind]

    def tensor(self, tensor: Tensor) -> Any:
        """Make the type of one row of a tensor: nested lists, exactly as long as its shape says."""
        kind = self.element(np.dtype(tensor.dtype))
        for length in reversed(tensor.shape[1:]):
            exact = Field() if length < 0 else Field(min_length=length, max_length=length)
            kind = Annotated[list_of[kind], exact]
        return kind

    def element(self, dtype: np.dtype[Any]) -> Any:
        """Make the type of a tensor's element."""
        match dtype.kind:
            case "f":
                return self.real(dtype)
            case "i" | "u":
                return whole(dtype)
            case "M":
                return self.scalar("datetime")
            case "O":
                return self.type(Anything(), "")
        plain: dict[str, Any] = {"b": bool, "U": str, "T": str, "S": BYTES}
        if dtype.kind in plain:
            return plain[dtype.kind]
        raise SchemaError(f"tensors of {dtype} cannot be sent as JSON; expected numbers, booleans, text or bytes")

    def real(self, dtype: np.dtype[Any]) -> Any:
        """Make the type of a float, within the range of its dtype."""
        if self.nullable:
            return float | None
        if dtype.itemsize >= 8:
            return Annotated[float, Field(allow_inf_nan=False)]
        limit = float(np.finfo(dtype).max)
        return Annotated[float, Field(ge=-limit, le=limit, allow_inf_nan=False)]


def whole(dtype: np.dtype[Any]) -> Any:
    """Make the type of an integer, within the range of its dtype."""
    limits = np.iinfo(dtype)
    return Annotated[int, Field(ge=int(limits.min), le=int(limits.max))]


def typed_dict(
    name: str,
    fields: dict[str, Any],
    config: ConfigDict,
    description: str = "",
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    """Make a TypedDict type: its fields may have any names, and validation gives a plain dict."""
    made: Any = make_typed_dict(name, fields)
    extra: dict[str, Any] = {"examples": [dict(examples[0])]} if examples else {}
    made.__pydantic_config__ = ConfigDict(**{**config, "json_schema_extra": extra}) if extra else config
    made.__doc__ = description or None  # the JSON schema's description
    return made


def params_field(params: Sequence[Param], name: str) -> Any:
    """Make the type of the optional field `params`; a param that is left out has its logged default."""
    make = Maker(nullable=False)
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for param in params:
        kind = make.type(param.type, f"{name}_{param.name}")
        if param.default is None:
            kind = kind | None
        defaults[param.name] = default(param, kind)
        fields[param.name] = not_required[Annotated[kind, Field(default=defaults[param.name])]]
    inner = typed_dict(name, fields, CONFIG)
    return not_required[Annotated[inner, Field(default=defaults, description="parameters of the prediction")]]


def default(param: Param, kind: Any) -> Any:
    """Read a param's logged default as a client would send it, so that dates and bytes have their real type."""
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kind, Field()])
    try:
        return adapter.validate_json(to_json(param.default))
    except ValueError as error:
        raise SchemaError(f"the default of param {param.name!r} does not fit its type: {error}") from error


def finite(value: Any) -> Any:
    """Refuse NaN and Infinity inside a value of any type."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        finite(inner)
    return value


DATETIME: TypeAdapter[datetime.datetime] = TypeAdapter(datetime.datetime, config=ConfigDict(strict=True))


def read_datetime(value: Any) -> Any:
    """Read ISO text; a number in quotes is refused, because nobody has said its unit."""
    if not isinstance(value, str):
        return value
    try:
        if value[4:5] == "-":
            return DATETIME.validate_strings(value)
    except ValueError:
        pass
    raise PydanticCustomError("datetime_parsing", "Input should be a date and time such as 2026-11-23T08:00:00")


def describe(column: Column) -> str:
    """Say in words what a column holds."""
    kind = column.type
    match kind:
        case Scalar():
            return WORDS[kind.kind]
        case Tensor():
            inner = " x ".join("any" if n < 0 else str(n) for n in kind.shape[1:])
            return f"{kind.dtype} tensor, {inner}" if inner else kind.dtype
        case Array():
            return f"list: {describe(Column(None, kind.items))}"
        case Map():
            return f"object of any keys: {describe(Column(None, kind.values))}"
        case Object():
            return "object"
    return "any value"


def valid_rows(rows: Sequence[Mapping[str, Any]], row_type: Any) -> list[dict[str, Any]]:
    """Give the rows that a client could send, as validation leaves them; the others are left out."""
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(row_type)
    found = []
    for row in rows:
        with contextlib.suppress(ValueError):
            found.append(adapter.validate_json(to_json(row)))
    return found
