"""Checks whole columns as validation would check their rows.

A check may only err on one side: a row that it does not vouch for goes through the row validator, which has the last
word and the exact text of the error.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hansang.scoring.fields import Field

EXACT = 2.0**53  # beyond it a float is not a whole number for sure
COMPARE = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}

Mask = np.ndarray | None
"""Which rows are vouched for; `None` is all of them."""


def both(first: Mask, second: Mask) -> Mask:
    """Join two masks."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def nobody(size: int) -> np.ndarray:
    """Vouch for no row."""
    return np.zeros(size, bool)


# --- rows that come in: Arrow to numpy ---


def read_column(field: Field, column: Any, size: int) -> tuple[np.ndarray, Mask]:
    """Turn an Arrow column (None where the input has none) into the array that a model takes, and say what is valid."""
    if column is None:
        return constant(field.default, size), nobody(size) if field.required else None
    if pa.types.is_null(column.type):
        empty = field.nullable or not field.required
        return constant(None if field.nullable else field.default, size), None if empty else nobody(size)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = missing_numbers(field, column)
    values, valid = CASTS[field.kind](field, column)
    if valid is not None and not valid.any():
        return values, valid
    valid = both(valid, within(field, values))
    return with_nulls(field, column, values, valid) if column.null_count else (values, valid)


def with_nulls(field: Field, column: Any, values: np.ndarray, valid: Mask) -> tuple[np.ndarray, Mask]:
    """Put None or the default where the file has nothing; a required value must be there."""
    nulls = to_numpy(column.is_null())
    if not field.nullable and field.required:
        return values, both(valid, ~nulls)
    filler = None if field.nullable else field.default
    values = values.astype(object) if filler is None else values.copy()
    values[nulls] = filler
    return values, None if valid is None else valid | nulls


def constant(value: Any, size: int) -> np.ndarray:
    """Give an array of one value; text and None stay Python objects."""
    return np.full(size, value, object if value is None or isinstance(value, str) else None)


def missing_numbers(field: Field, column: Any) -> Any:
    """Read NaN as a missing value where one may be missing: files have no other way to leave a float out."""
    if field.kind == "float" and (field.nullable or not field.required) and pa.types.is_floating(column.type):
        missing = pc.is_nan(column)
        if pc.any(missing).as_py():
            return pc.if_else(missing, pa.scalar(None, column.type), column)
    return column


def plain_zeros(column: Any, type_: Any) -> Any:
    """Fill nulls, so that the numbers have a numpy array of their own type."""
    return column.fill_null(pa.scalar(0, type_)) if column.null_count else column


def int_column(field: Field, column: Any) -> tuple[np.ndarray, Mask]:
    """Take whole numbers; floats that are whole unless the schema is strict."""
    if pa.types.is_integer(column.type):
        if pa.types.is_uint64(column.type):
            wide = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())).fill_null(False)
            if pc.any(wide).as_py():
                return np.zeros(len(column), np.int64), nobody(len(column))
        return to_numpy(plain_zeros(column, column.type)).astype(np.int64, copy=False), None
    if pa.types.is_floating(column.type) and not field.strict:
        return whole_numbers(to_numpy(plain_zeros(column, column.type)))
    return np.zeros(len(column), np.int64), nobody(len(column))


def whole_numbers(values: np.ndarray) -> tuple[np.ndarray, Mask]:
    """Turn floats that are whole into integers."""
    with np.errstate(invalid="ignore"):
        valid = (np.abs(values) < EXACT) & (np.floor(values) == values)
    return np.where(valid, values, 0).astype(np.int64), None if valid.all() else valid


def float_column(field: Field, column: Any) -> tuple[np.ndarray, Mask]:
    """Take finite numbers."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.zeros(len(column)), nobody(len(column))
    values = to_numpy(plain_zeros(column, column.type)).astype(np.float64, copy=False)
    finite = np.isfinite(values)
    return values, None if finite.all() else finite


def bool_column(field: Field, column: Any) -> tuple[np.ndarray, Mask]:
    """Take booleans."""
    if not pa.types.is_boolean(column.type):
        return np.zeros(len(column), bool), nobody(len(column))
    filled = column.fill_null(False) if column.null_count else column
    return to_numpy(filled), None


def str_column(field: Field, column: Any) -> tuple[np.ndarray, Mask]:
    """Take text; its length and pattern are checked here, where Arrow has it."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return np.full(len(column), "", object), nobody(len(column))
    filled = column.fill_null("") if column.null_count else column
    return to_numpy(filled), text_within(field, filled)


CASTS = {"int": int_column, "float": float_column, "bool": bool_column, "str": str_column}


def to_numpy(column: Any) -> np.ndarray:
    """Share numbers with numpy; pyarrow's own way would import pandas first."""
    if pa.types.is_boolean(column.type) and not column.null_count:
        return np.from_dlpack(column.cast(pa.uint8())).view(bool)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.from_dlpack(column)
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


# --- limits ---


def within(field: Field, values: np.ndarray) -> Mask:
    """Check the limits of numbers."""
    valid: Mask = None
    if field.kind not in ("int", "float"):
        return None
    for word, compare in COMPARE.items():
        if word in field.bounds:
            valid = both(valid, compare(values, field.bounds[word]))
    if "multiple_of" in field.bounds:
        valid = both(valid, values % field.bounds["multiple_of"] == 0)
    if field.choices is not None:
        valid = both(valid, np.isin(values, np.array(field.choices)))
    return None if valid is None or valid.all() else valid


def text_within(field: Field, column: Any) -> Mask:
    """Check the length, the pattern and the choices of texts; a pattern runs once for each different text."""
    valid: Mask = None
    if field.bounds:
        lengths = to_numpy(pc.utf8_length(column))
        if "min_length" in field.bounds:
            valid = both(valid, lengths >= field.bounds["min_length"])
        if "max_length" in field.bounds:
            valid = both(valid, lengths <= field.bounds["max_length"])
    choices = field.choices
    if field.matches is not None:
        choices = tuple(text for text in pc.unique(column).to_pylist() if field.matches(text))
    if choices is not None:
        known = pc.is_in(column, value_set=pa.array(choices, column.type))
        valid = both(valid, to_numpy(known))
    return None if valid is None or valid.all() else valid


# --- predictions that come out: numpy to Arrow ---


def to_arrow(values: np.ndarray, present: Mask = None) -> Any:
    """Share numbers or booleans with Arrow; `pa.array` would import pandas first, which takes longer than most runs."""
    data = np.packbits(values, bitorder="little") if values.dtype.kind == "b" else np.ascontiguousarray(values)
    bitmap = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    kind = pa.bool_() if values.dtype.kind == "b" else pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(data)])


def write_column(field: Field, values: np.ndarray) -> tuple[Any, Mask]:
    """Turn a model's array into the Arrow column of its output field, and say which values fit the schema."""
    if field.kind == "list":
        return write_lists(field, values)
    values, valid = exact(field, values)
    if valid is not None and not valid.any():
        return None, valid
    if field.kind == "str":
        column = pa.array(values, pa.string())
        if column.null_count:
            present = to_numpy(column.is_valid())
            column = column.fill_null("")
            return column, both(present, both(valid, text_within(field, column)))
        return column, both(valid, text_within(field, column))
    valid = both(valid, within(field, values))
    if field.kind == "float":
        finite = np.isfinite(values)
        if not finite.all():
            strict = field.finite or bool(field.bounds)  # whether NaN is within limits is for the row validator to say
            return to_arrow(values, finite), both(valid, finite if strict else None)
    return to_arrow(values), valid


def exact(field: Field, values: np.ndarray) -> tuple[np.ndarray, Mask]:
    """Bring an array to the exact type of a field, as validation of its Python values would."""
    kind = values.dtype.kind if values.ndim == 1 else ""
    if field.kind == "float" and kind in "fiu" and kind:
        return values.astype(np.float64, copy=False), None
    if field.kind == "int" and kind in "iu" and kind and values.dtype != np.uint64:
        return values.astype(np.int64, copy=False), None
    if field.kind == "int" and kind == "f" and not field.strict:
        return whole_numbers(values)
    if field.kind == "bool" and kind == "b":
        return values, None
    if field.kind == "str" and (kind in ("U", "T") or (kind == "O" and all(type(value) is str for value in values))):
        return values.astype(object), None
    return values, nobody(len(values))


def write_lists(field: Field, values: np.ndarray) -> tuple[Any, Mask]:
    """Turn a matrix into a column of lists."""
    size = len(values)
    low, high = field.bounds.get("min_length", 0), field.bounds.get("max_length")
    if (
        values.ndim != 2
        or field.items is None
        or values.shape[1] < low
        or (high is not None and values.shape[1] > high)
    ):
        return None, nobody(size)
    flat, valid = write_column(field.items, np.ascontiguousarray(values).reshape(-1))
    if flat is None:
        return None, nobody(size)
    return lists(flat, values.shape), None if valid is None else np.asarray(valid.reshape(values.shape).all(axis=1))


def lists(flat: Any, shape: tuple[int, ...]) -> Any:
    """Cut a flat column into lists of one length."""
    return pa.ListArray.from_arrays(to_arrow(np.arange(shape[0] + 1, dtype=np.int32) * np.int32(shape[1])), flat)


def write_any(values: np.ndarray) -> Any:
    """Turn an array without a schema into an Arrow column, or None; numbers that are not finite are null."""
    if values.ndim == 2 and values.dtype.kind in "fiub":
        return lists(write_any(np.ascontiguousarray(values).reshape(-1)), values.shape)
    if values.ndim == 1 and values.dtype.kind == "f":
        finite = np.isfinite(values)
        return to_arrow(values.astype(np.float64, copy=False), None if finite.all() else finite)
    if values.ndim == 1 and values.dtype.kind in "iub":
        return to_arrow(values)
    return pa.array(values.astype(object)) if values.ndim == 1 and values.dtype.kind == "U" else None
