"""Python values as JSON and raw buffers, such that exactly the same values come out at the other end.

JSON has text, numbers, truth, null, lists and objects with text keys; floats are written with the shortest digits that
read back to the same bits. Everything else is an object with the one key `~` and a list: a tag and what it needs.
Arrays, bytes and pixels are buffers of their own. Nothing is ever imported or called to read a value: classes are
looked for among the modules that are loaded already, and their instances get their state without running their code.
"""

from __future__ import annotations

import datetime
import enum
import math
import struct
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy
from pydantic import BaseModel

from hansang.errors import HansangError, ModelFailed, Problem
from hansang.extras import require

MARK = "~"
PLAIN = frozenset({str, int, bool, type(None)})
LEAVES = PLAIN | {float}
TEXT = frozenset({str})
LONG = 16
DOUBLE, LONG_INTEGER = np.dtype("<f8"), np.dtype("<i8")
ARGUMENTS = frozenset({"detail", "errors", "retry_after", "headers"})
TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.timedelta: (
        lambda span: f"{span.days} {span.seconds} {span.microseconds}",
        lambda text: datetime.timedelta(*map(int, text.split())),
    ),
    Decimal: (str, Decimal),
    uuid.UUID: (str, uuid.UUID),
}
KINDS = {kind.__name__: read for kind, (_, read) in TEXTS.items()}


class WireError(HansangError):
    """A value cannot be sent, or what came cannot be read."""


class Packer:
    """Turns values into JSON values; `buffers` collects what is sent as raw bytes.

    An object or a list of plain values is given as it is, unless `finite` says that a number in it may be none: the
    JSON encoder refuses it then.
    """

    def __init__(self, finite: bool = True) -> None:
        self.buffers: list[Any] = []
        self.finite = finite

    def pack(self, value: Any) -> Any:
        """Give the JSON value; raises `WireError` for a value that would not come out the same."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is float:
            return value if self.finite or math.isfinite(value) else {MARK: ["f", struct.pack(">d", value).hex()]}
        if kind is dict:
            return self._dict(value)
        if kind is list:
            if len(value) >= LONG and (run := self._run(value)) is not None:
                return {MARK: run}
            flat = self.finite and LEAVES.issuperset(map(type, value))
            return value if flat else [self.pack(item) for item in value]
        return {MARK: self._array(value) if kind is np.ndarray else self._other(value, kind)}

    def column(self, values: Sequence[Any]) -> Any:
        """Give one field of many rows as the JSON value of their list."""
        run = self._run(values)
        return {MARK: run} if run is not None else [self.pack(item) for item in values]

    def _run(self, values: Sequence[Any]) -> list[Any] | None:
        """Give floats, whole numbers, or arrays of one shape as one buffer; `None` for anything else."""
        kinds = set(map(type, values))
        kind = kinds.pop()
        if kinds:
            return None
        if kind is float:
            return ["F", self._buffer(np.array(values, DOUBLE).tobytes())]
        if kind is int:
            try:
                return ["I", self._buffer(np.array(values, LONG_INTEGER).tobytes())]
            except OverflowError:
                return None
        if kind is np.ndarray and alike(values):
            stacked = np.stack(values)
            return ["A", *self._array(stacked)[1:]]
        return None

    def _dict(self, value: dict[Any, Any]) -> Any:
        if MARK in value or not TEXT.issuperset(map(type, value)):
            return {MARK: ["d", [[self.pack(key), self.pack(item)] for key, item in value.items()]]}
        if self.finite and LEAVES.issuperset(map(type, value.values())):
            return value
        return {key: item if type(item) in PLAIN else self.pack(item) for key, item in value.items()}

    def _buffer(self, data: Any) -> int:
        self.buffers.append(data)
        return len(self.buffers) - 1

    def _array(self, value: np.ndarray) -> list[Any]:
        shape = list(value.shape)
        if value.dtype.hasobject:
            if value.dtype.fields:
                raise WireError("an array with objects in named fields cannot be sent; send its fields one by one")
            return ["o", shape, [self.pack(item) for item in value.ravel().tolist()]]
        turned = not value.flags.c_contiguous and value.flags.f_contiguous
        flat = value.T if turned else np.ascontiguousarray(value)
        return ["a", npy.dtype_to_descr(value.dtype), shape, int(turned), self._buffer(flat.tobytes())]

    def _other(self, value: Any, kind: type) -> list[Any]:
        write = WRITERS.get(kind) or next((write for base, write in BASES if isinstance(value, base)), None)
        if write is not None:
            return write(self, value)
        pictures = sys.modules.get("PIL.Image")
        if pictures is not None and isinstance(value, pictures.Image):
            return self._picture(value)
        if is_dataclass(value):
            state = {field.name: getattr(value, field.name) for field in fields(value)}
            return ["c", *name_of_class(kind), self.pack(state)]
        raise WireError(f"a {kind.__name__} cannot be sent to another process; give plain values, arrays or models")

    def _model(self, value: BaseModel) -> list[Any]:
        return ["m", *name_of_class(type(value)), self.pack(value.__getstate__())]

    def _items(self, value: Any) -> list[Any]:
        return [ITEMS[type(value)], [self.pack(item) for item in value]]

    def _bytes(self, value: bytes | bytearray) -> list[Any]:
        return ["b" if type(value) is bytes else "y", self._buffer(bytes(value))]

    def _scalar(self, value: np.generic) -> list[Any]:
        return ["n", npy.dtype_to_descr(value.dtype), value.tobytes().hex()]

    def _member(self, value: enum.Enum) -> list[Any]:
        return ["u", *name_of_class(type(value)), value.name]

    def _text(self, value: Any) -> list[Any]:
        kind = type(value)
        write, read = TEXTS[kind]
        text = write(value)
        if read(text) != value or hasattr(getattr(value, "tzinfo", None), "key"):
            raise WireError(f"{value!r} cannot be sent as it is; give a time in UTC or with a fixed offset")
        return ["k", kind.__name__, text]

    def _picture(self, value: Any) -> list[Any]:
        info = {}
        for name, item in value.info.items():
            try:
                info[name] = self.pack(item)
            except WireError:  # what a decoder left beside the picture is not the picture
                continue
        palette = value.palette
        colours = [palette.mode, self._buffer(bytes(palette.palette))] if palette is not None else None
        return ["i", value.mode, list(value.size), self._buffer(value.tobytes()), colours, info]

    def _exception(self, error: Exception) -> list[Any]:
        if not isinstance(error, Problem):
            failed = ModelFailed(str(error) or type(error).__name__)
            return self._exception(failed)
        kind: Any = type(error)
        try:
            name: list[str] = [*name_of_class(kind)]
        except WireError:  # made in a function: the other side makes one like it
            name = ["", kind.__name__]
        more = {}
        for key, item in vars(error).items():
            if key not in ARGUMENTS:
                try:
                    more[key] = self.pack(item)
                except WireError:  # an attribute of the user's own that is not for the wire
                    continue
        told = [error.detail, self.pack(error.errors), error.retry_after, dict(error.headers)]
        return ["e", *name, [kind.status, kind.title, kind.type, kind.public], told, more]


ITEMS: dict[type, str] = {tuple: "t", set: "s", frozenset: "z"}
WRITERS: dict[type, Callable[[Packer, Any], list[Any]]] = {
    **dict.fromkeys(ITEMS, Packer._items),
    **dict.fromkeys((bytes, bytearray), Packer._bytes),
    **dict.fromkeys(TEXTS, Packer._text),
}
BASES: tuple[tuple[type, Callable[[Packer, Any], list[Any]]], ...] = (
    (np.generic, Packer._scalar),
    (BaseModel, Packer._model),
    (enum.Enum, Packer._member),
    (Exception, Packer._exception),
)


class Unpacker:
    """Turns JSON values back, with the buffers that came beside them; `hook` is for `json`'s `object_hook`."""

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self.buffers = buffers

    def hook(self, found: dict[str, Any]) -> Any:
        """Give the value of a JSON object whose inner values are read already."""
        if MARK not in found:
            return found
        tag, *rest = found[MARK]
        return READERS[tag](self, *rest)

    def _array(self, descr: Any, shape: list[int], turned: int, number: int) -> np.ndarray:
        dtype = npy.descr_to_dtype(as_descr(descr))
        data = self.buffers[number]
        size = math.prod(shape)
        if dtype.hasobject or any(type(length) is not int or length < 0 for length in shape):
            raise WireError("an array of objects came as bytes")
        if size * dtype.itemsize != len(data):
            raise WireError(f"an array of shape {tuple(shape)} came with {len(data)} bytes")
        if not size or not dtype.itemsize:
            return np.empty(shape, dtype)
        flat = np.frombuffer(data, dtype, size)
        return flat.reshape(shape[::-1]).copy().T if turned else flat.reshape(shape).copy()

    def _numbers(self, number: int, dtype: np.dtype) -> list[Any]:
        values: list[Any] = np.frombuffer(self.buffers[number], dtype).tolist()
        return values

    def _objects(self, shape: list[int], items: list[Any]) -> np.ndarray:
        array = np.empty(len(items), object)
        for place, item in enumerate(items):
            array[place] = item
        return array.reshape(shape)

    def _scalar(self, descr: Any, data: str) -> Any:
        return np.frombuffer(bytes.fromhex(data), npy.descr_to_dtype(as_descr(descr)))[0]

    def _float(self, data: str) -> float:
        value: float = struct.unpack(">d", bytes.fromhex(data))[0]
        return value

    def _bytes(self, number: int) -> bytes:
        return bytes(self.buffers[number])

    def _model(self, module: str, name: str, state: dict[str, Any]) -> BaseModel:
        kind = class_named(module, name, BaseModel)
        model: BaseModel = kind.__new__(kind)
        model.__setstate__(state)
        return model

    def _member(self, module: str, name: str, member: str) -> Any:
        return class_named(module, name, enum.Enum)[member]

    def _dataclass(self, module: str, name: str, state: dict[str, Any]) -> Any:
        kind: Any = class_named(module, name, object)
        if not is_dataclass(kind):
            raise WireError(f"{module}.{name} is not a dataclass")
        value: Any = object.__new__(kind)  # type: ignore[arg-type]  # it is a class: class_named says so
        for field in fields(kind):
            object.__setattr__(value, field.name, state[field.name])
        return value

    def _picture(self, mode: str, size: list[int], number: int, colours: list[Any] | None, info: dict[str, Any]) -> Any:
        pictures = require("PIL.Image", "image", "a picture from another process")
        picture = pictures.frombytes(mode, tuple(size), bytes(self.buffers[number]))
        if colours is not None:
            palette = require("PIL.ImagePalette", "image")
            picture.palette = palette.raw(colours[0], bytes(self.buffers[colours[1]]))
            picture.load()
        picture.info = info
        return picture

    def _exception(self, module: str, name: str, about: list[Any], told: list[Any], more: dict[str, Any]) -> Problem:
        status, title, address, public = about
        try:
            kind = class_named(module, name, Problem)
        except WireError:
            kind = problem_class(name, status, title, address, public)
        error: Problem = kind.__new__(kind)
        detail, errors, retry_after, headers = told
        Problem.__init__(error, detail, errors=errors, retry_after=retry_after, headers=headers)
        vars(error).update(more)
        return error


READERS: dict[str, Callable[..., Any]] = {
    "A": lambda self, *about: list(self._array(*about)),
    "F": lambda self, number: self._numbers(number, DOUBLE),
    "I": lambda self, number: self._numbers(number, LONG_INTEGER),
    "a": Unpacker._array,
    "b": Unpacker._bytes,
    "c": Unpacker._dataclass,
    "d": lambda self, pairs: dict(pairs),
    "e": Unpacker._exception,
    "f": Unpacker._float,
    "i": Unpacker._picture,
    "k": lambda self, kind, text: KINDS[kind](text),
    "m": Unpacker._model,
    "n": Unpacker._scalar,
    "o": Unpacker._objects,
    "s": lambda self, items: set(items),
    "t": lambda self, items: tuple(items),
    "u": Unpacker._member,
    "y": lambda self, number: bytearray(self.buffers[number]),
    "z": lambda self, items: frozenset(items),
}


def alike(arrays: Sequence[Any]) -> bool:
    """Say whether arrays can lie in one, one after the other, and be cut out again as they were."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    return (
        bool(shape)
        and not (dtype.hasobject or dtype.fields)
        and all(array.dtype == dtype and array.shape == shape and array.flags.c_contiguous for array in arrays)
    )


def as_descr(descr: Any) -> Any:
    """Give numpy's description of a dtype back as it was before JSON made lists of its tuples."""
    if isinstance(descr, list):
        return [tuple(tuple(part) if n == 2 else as_descr(part) for n, part in enumerate(field)) for field in descr]
    return descr


@lru_cache(maxsize=512)
def name_of_class(kind: Any) -> tuple[str, str]:
    """Name a class so that the other side finds it; `WireError` for one that stands inside a function."""
    if find(kind.__module__, kind.__qualname__) is not kind:
        raise WireError(
            f"the class {kind.__qualname__} of {kind.__module__} cannot be sent to another process; "
            "define it at the top level of its file"
        )
    return kind.__module__, kind.__qualname__


@lru_cache(maxsize=512)
def class_named(module: str, name: str, base: Any) -> Any:
    """Find a class among the modules that are loaded; none is imported."""
    kind = find(module, name)
    if not isinstance(kind, type) or not issubclass(kind, base):
        raise WireError(f"there is no class {name} in the module {module!r} here; serve the same file on both sides")
    return kind


def find(module: str, name: str) -> Any:
    """Find something by its qualified name in a module that is loaded; `None` when it is not there."""
    found: Any = sys.modules.get(module)
    if found is None or name in vars(found):
        return vars(found).get(name) if found is not None else None  # a generic model's name may have dots in brackets
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


@lru_cache(maxsize=512)
def problem_class(name: str, status: int, title: str, address: str, public: bool) -> type[Problem]:
    """Make a class of problem like one that is only known elsewhere."""
    if not (isinstance(status, int) and 400 <= status <= 599):
        raise WireError(f"{status!r} is not the status of a problem")
    return type(
        name,
        (Problem,),
        {"__module__": "elsewhere", "status": status, "title": title, "type": address, "public": bool(public)},
    )
