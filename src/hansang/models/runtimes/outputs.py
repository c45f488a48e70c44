"""From what a library gives to the outputs that the model's signature declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hansang.errors import ModelError
from hansang.models.signature import OUTPUT, Column, Scalar, Signature, Tensor

Raw = Sequence[Any]
Pick = tuple[str, int, Callable[[Any], np.ndarray] | None]

KINDS = {"boolean": "b", "integer": "iu", "long": "iu", "float": "f", "double": "f", "string": "UOT", "binary": "SO"}


class Fit:
    """Cuts a model's raw outputs to the declared ones; planned on the first call, when the arrays' shapes are known.

    `names` are the model's own names of its outputs. Without a declaration all of them are given, or only the first
    where `single`.
    """

    def __init__(self, signature: Signature | None, names: Sequence[str], *, single: bool = False) -> None:
        self.columns = signature.outputs if signature else ()
        self.declared = signature.output_names if signature else ()
        self.names = tuple(names)
        self.single = single
        self.plan: list[Pick] | None = None

    def __call__(self, raw: Raw) -> dict[str, np.ndarray]:
        """Name, choose and shape the outputs."""
        if self.plan is None:
            self.plan = self._plan(raw)
        return {name: raw[position] if shape is None else shape(raw[position]) for name, position, shape in self.plan}

    def _plan(self, raw: Raw) -> list[Pick]:
        if not self.columns:
            names = (OUTPUT,) if self.single or len(raw) == 1 else self.names
            return [(name, position, shaper(raw[position], None)) for position, name in enumerate(names)]
        if set(self.declared) <= set(self.names):
            places = [self.names.index(name) for name in self.declared]
        elif len(self.columns) == 1:
            places = [best(self.columns[0], raw)]
        elif len(self.columns) == len(raw):
            places = list(range(len(raw)))
        else:
            return self._split(raw)
        picked = zip(self.declared, places, self.columns, strict=True)
        return [(name, place, shaper(raw[place], column)) for name, place, column in picked]

    def _split(self, raw: Raw) -> list[Pick]:
        """Give each declared output one column of a matrix."""
        count = len(self.columns)
        for position, value in enumerate(raw):
            if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == count:
                return [(name, position, column_of(n)) for n, name in enumerate(self.declared)]
        raise ModelError(
            f"the signature declares the outputs {', '.join(self.declared)}, but the model gives "
            f"{', '.join(describe(name, value) for name, value in zip(self.names, raw, strict=False))}"
        )


def best(column: Column, raw: Raw) -> int:
    """Find the raw output that fits a column best: by kind of value, then by number of axes."""
    scores = [score(column, value) for value in raw]
    return scores.index(max(scores))


def score(column: Column, value: Any) -> int:
    """Say how well a raw output fits a column."""
    kind = column.type
    if not isinstance(value, np.ndarray):
        return 0
    if isinstance(kind, Scalar):
        return 2 * (value.dtype.kind in KINDS.get(kind.kind, "M")) + (flat_axes(value) == 1)
    if isinstance(kind, Tensor):
        same = np.dtype(kind.dtype).kind
        return 2 * (value.dtype.kind == same or {value.dtype.kind, same} <= set("UOT")) + (
            value.ndim == len(kind.shape)
        )
    return 0


def flat_axes(value: np.ndarray) -> int:
    """Count an array's axes, without a last one of length one."""
    return 1 if value.ndim == 2 and value.shape[1] == 1 else value.ndim


def shaper(value: Any, column: Column | None) -> Callable[[Any], np.ndarray] | None:
    """Choose how a raw output is brought into the declared shape; None when it has it already."""
    kind = column.type if column else None
    if isinstance(value, list):  # ONNX's ZipMap: a dict a row
        return dict_values if isinstance(kind, Tensor) else dicts
    axes = len(kind.shape) if isinstance(kind, Tensor) else 1 if isinstance(kind, Scalar) else None
    if axes is not None and value.ndim == axes + 1 and value.shape[-1] == 1:
        return last_axis_off
    if axes is not None and value.ndim == axes - 1:
        return last_axis_on
    return None


def dicts(value: Sequence[Mapping[Any, Any]]) -> np.ndarray:
    """Give a list of dicts as an array of objects with text keys."""
    out = np.empty(len(value), object)
    for position, row in enumerate(value):
        out[position] = {str(key): inner for key, inner in row.items()}
    return out


def dict_values(value: Sequence[Mapping[Any, Any]]) -> np.ndarray:
    """Give the values of a list of dicts as a matrix."""
    return np.array([list(row.values()) for row in value])


def last_axis_off(value: np.ndarray) -> np.ndarray:
    """Drop a last axis of length one."""
    return value[..., 0]


def last_axis_on(value: np.ndarray) -> np.ndarray:
    """Add a last axis of length one."""
    return value[..., None]


def column_of(position: int) -> Callable[[np.ndarray], np.ndarray]:
    """Take one column of a matrix."""

    def take(value: np.ndarray) -> np.ndarray:
        return value[:, position]

    return take


def describe(name: str, value: Any) -> str:
    """Name a raw output with its shape."""
    return f"{name} {list(getattr(value, 'shape', [len(value)]))}"
