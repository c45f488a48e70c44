"""The fields of a type whose values have fields: a pydantic model, a TypedDict, a dataclass, a named tuple."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import isclass
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel, RootModel

from hansang.joints.hints import MARKS, reads_otherwise


@dataclass(frozen=True, slots=True)
class Record:
    """Fields by name; those in `optional` may be missing.

    `mapping` says that they are read by `row["x"]`, not by `row.x`; `open` that there may be more of them, `closed`
    that validation refuses more; `strict` that validation converts nothing.
    """

    name: str
    fields: Mapping[str, Any]
    optional: frozenset[str] = frozenset()
    mapping: bool = False
    open: bool = False
    closed: bool = False
    strict: bool = False


def record_of(kind: Any) -> Record | None:
    """Give the fields of a type; `None` for a type without them, or whose fields cannot be told."""
    origin = get_origin(kind) or kind
    if get_args(kind) and isclass(origin) and not issubclass(origin, BaseModel):
        return None  # the fields of a generic class depend on what it is a class of
    try:
        return known_record(kind)
    except TypeError:  # not hashable
        return None


@lru_cache(maxsize=1024)
def known_record(kind: Any) -> Record | None:
    """Give the fields of a type that can be told from others."""
    if typing_extensions.is_typeddict(kind):
        config = getattr(kind, "__pydantic_config__", {})
        hints = hints_of_class(kind)
        optional = optional_keys(kind, hints)
        return Record(kind.__name__, hints, optional, True, False, config.get("extra") == "forbid", strict(config))
    if not isclass(kind):
        return None
    if issubclass(kind, BaseModel):
        return model_record(kind)
    if dataclasses.is_dataclass(kind):
        hints = hints_of_class(kind)
        fields = {field.name: hints.get(field.name, Any) for field in dataclasses.fields(kind)}
        return Record(kind.__name__, fields, frozenset(f.name for f in dataclasses.fields(kind) if has_default(f)))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = hints_of_class(kind)
        return Record(kind.__name__, {name: hints.get(name, Any) for name in kind._fields})
    return None


def optional_keys(kind: Any, hints: Mapping[str, Any]) -> frozenset[str]:
    """Name the keys that may be missing; marks inside hints that were text are seen only now."""
    found = set(kind.__optional_keys__)
    for name, hint in hints.items():
        inner = hint
        while get_origin(inner) in (Annotated, *MARKS):
            if get_origin(inner) is NotRequired:
                found.add(name)
            elif get_origin(inner) is Required:
                found.discard(name)
            inner = get_args(inner)[0]
    return frozenset(found)


def model_record(kind: type[BaseModel]) -> Record | None:
    """Give the fields of a pydantic model; none where validators or aliases decide what its fields are read from."""
    decorators = kind.__pydantic_decorators__
    if issubclass(kind, RootModel) or any(each.info.mode != "after" for each in decorators.model_validators.values()):
        return None
    read = {name for each in decorators.field_validators.values() for name in each.info.fields}
    fields: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        changed = name in read or "*" in read or info.validation_alias or info.alias
        marks = [type(mark).__name__ for mark in info.metadata]
        changers = any(mark.endswith("Validator") for mark in marks)
        fields[name] = Any if changed or changers or reads_otherwise(info.annotation) else info.annotation
    aliased = frozenset(n for n, info in kind.model_fields.items() if info.validation_alias or info.alias)
    optional = frozenset(name for name, info in kind.model_fields.items() if not info.is_required()) | aliased
    extra = kind.model_config.get("extra")
    closed = extra == "forbid" and not aliased
    return Record(kind.__name__, fields, optional, False, extra == "allow", closed, strict(kind.model_config))


def strict(config: Mapping[str, Any]) -> bool:
    """Say whether validation converts nothing."""
    return bool(config.get("strict"))


def hints_of_class(kind: Any) -> dict[str, Any]:
    """Read the hints of a class; unknown ones when they name what is not there."""
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:  # a hint is any expression
        return dict.fromkeys(getattr(kind, "__annotations__", {}), Any)


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Say whether a dataclass can be made without this field."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
