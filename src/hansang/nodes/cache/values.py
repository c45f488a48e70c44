"""Entries as bytes and back, exactly, without running anything that the bytes say.

JSON, in which null, true, false, numbers, text and lists are themselves, and anything else is an object of one name
that says what it is. Numbers come back with the same bits and the same types; what cannot come back exactly is not
written. A pydantic model is named by its class, which must have been imported: nothing is imported on its behalf, and
only its fields are set.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from hansang import errors as tree
from hansang.errors import Problem
from hansang.fingerprint import name_of
from hansang.nodes.cache.entry import Entry, Unkept, frozen, outcome_of
from hansang.nodes.cache.ways import Steps

ITSELF = frozenset({type(None), bool, int, str})
SEEN = (*ITSELF, float)


class Unreadable(Exception):
    """Bytes from a store are not an entry, or not the one that was asked for."""


def packed(entry: Entry, mark: str) -> bytes:
    """Write an entry under a mark that tells whose it is; raises `Unkept` for an outcome that has no exact form."""
    held, _, _, way, _ = entry
    try:
        outcome = pack_error(held) if isinstance(held, Exception) else {"value": pack(outcome_of(entry))}
        document = {"mark": mark, "way": way, **outcome}
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unkept(f"{type(held).__name__}: {error}") from error


def unpacked(data: bytes, mark: str, steps: Steps) -> Entry:
    """Read an entry; raises `Unreadable` for what `packed` has not written under this mark."""
    try:
        document = json.loads(data)
        if document["mark"] != mark:
            raise Unreadable("it belongs to another key")
        way = steps.named(*map(str, document["way"]))
        outcome = unpack_error(document["error"]) if "error" in document else unpack(document["value"])
        return frozen(outcome, way, math.inf)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def pack(value: Any) -> Any:  # noqa: PLR0911  # one line a kind
    """Make JSON of a value."""
    kind = type(value)
    if kind in ITSELF:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack("<d", value).hex()}
    if kind is list:
        return value if plain(value) else [pack(item) for item in value]
    if kind is tuple:
        return {"tuple": [pack(item) for item in value]}
    if kind is dict:
        if all(type(name) is str for name in value):
            return {"object": {name: pack(item) for name, item in value.items()}}
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return pack_array(value, kind)
    if isinstance(value, BaseModel):
        return pack_model(value, kind)
    raise Unkept(f"a {name_of(kind)} has no exact form for a store")


def plain(values: list[Any]) -> bool:
    """Say whether a list is JSON as it stands."""
    return all(type(value) in SEEN and (type(value) is not float or math.isfinite(value)) for value in values)


def pack_array(value: Any, kind: type) -> dict[str, Any]:
    """Write an array, or a scalar of numpy's own, with its bytes; its order in memory is not kept."""
    exact = kind is np.ndarray or (isinstance(value, np.generic) and kind is value.dtype.type)
    if value.dtype.hasobject or value.dtype.names or not exact or np.dtype(value.dtype.str) != value.dtype:
        raise Unkept(f"a {name_of(kind)} of {value.dtype} has no exact form for a store")
    data = base64.b64encode(value.tobytes()).decode()
    return {"scalar" if isinstance(value, np.generic) else "array": [value.dtype.str, list(value.shape), data]}


def pack_model(value: BaseModel, kind: type) -> dict[str, Any]:
    """Write a pydantic model: its class, its fields, and which of them were set."""
    names = set(type(value).model_fields)
    if value.__pydantic_extra__ or value.__pydantic_private__ or set(vars(value)) != names:
        raise Unkept(f"a {name_of(kind)} that holds more than its fields has no exact form for a store")
    if find_model(kind.__module__, kind.__qualname__) is not kind:
        raise Unkept(f"{name_of(kind)} is not a class that another process could find; define it in a module")
    fields = {name: pack(item) for name, item in vars(value).items()}
    return {"model": [kind.__module__, kind.__qualname__, fields, sorted(value.model_fields_set)]}


def unpack(value: Any) -> Any:
    """Read what `pack` has written."""
    if type(value) is list:
        return [item if type(item) in SEEN else unpack(item) for item in value]
    if type(value) is not dict:
        return value
    ((word, content),) = value.items()
    return READERS[word](content)


def unpack_array(content: Any) -> Any:
    """Read an array."""
    name, shape, data = content
    dtype = np.dtype(str(name))
    if dtype.hasobject:
        raise Unreadable("an array of objects")
    return np.frombuffer(bytearray(base64.b64decode(data, validate=True)), dtype).reshape(shape)


def unpack_model(content: Any) -> BaseModel:
    """Read a pydantic model whose class is known here and has the same fields."""
    module, name, values, fields_set = content
    kind = find_model(module, name)
    if kind is None or set(values) != set(kind.model_fields):
        raise Unreadable(f"no model {module}.{name} with these fields is known here")
    model = kind.model_construct(_fields_set=set(fields_set))
    object.__setattr__(model, "__dict__", {field: unpack(item) for field, item in values.items()})
    return model


def find_model(module: str, name: str) -> type[BaseModel] | None:
    """Find a pydantic model among the modules that are imported already."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


READERS: Mapping[str, Callable[[Any], Any]] = {
    "float": lambda content: struct.unpack("<d", bytes.fromhex(content))[0],
    "tuple": lambda content: tuple(map(unpack, content)),
    "object": lambda content: {name: unpack(item) for name, item in content.items()},
    "dict": lambda content: {unpack(key): unpack(item) for key, item in content},
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "array": unpack_array,
    "scalar": lambda content: unpack_array(content)[()],
    "model": unpack_model,
}


def pack_error(error: Exception) -> dict[str, Any]:
    """Write an error of Hansang's own tree; one of the user's own has a class that nobody else knows."""
    kind = type(error)
    if not isinstance(error, Problem) or getattr(tree, kind.__name__, None) is not kind:
        raise Unkept(f"a {name_of(kind)} has no exact form for a store")
    facts = [error.detail, error.errors, error.retry_after, dict(error.headers)]
    return {"error": [kind.__name__, *map(pack, facts)]}


def unpack_error(content: Any) -> Problem:
    """Read an error."""
    name, *facts = content
    kind = getattr(tree, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, Problem)):
        raise Unreadable(f"no error is called {name!r}")
    detail, faults, retry_after, headers = map(unpack, facts)
    return kind(detail, errors=faults, retry_after=retry_after, headers=headers)
