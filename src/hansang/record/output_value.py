"""The number in an answer: the column `output_value`, found in compact JSON without parsing it row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

QUOTE, COLON, BACKSLASH = b'":\\'
STARTS = np.zeros(256, np.bool_)
STARTS[list(b"-0123456789")] = True
ENDS = np.zeros(256, np.bool_)
ENDS[list(b",}]")] = True


def single_numbers(sizes: np.ndarray, data: bytes, wanted: np.ndarray) -> pa.Array:
    """Give each output's number: the output itself, or its only field with a number, at any depth.

    Null when there is none or more than one. A field with a number is a quote that closes a text, a colon, and a digit
    or a minus sign, which in compact JSON is nothing else.
    """
    rows = len(sizes)
    ends = np.cumsum(sizes, dtype=np.int64)
    starts = ends - sizes
    text = np.frombuffer(data, np.uint8)
    if not len(text):
        return pa.nulls(rows, pa.float64())
    found, row = field_starts(text, ends, escapes=b"\\" in data)
    bare = np.flatnonzero((sizes > 0) & STARTS[text[np.minimum(starts, len(text) - 1)]])
    found = np.concatenate([found, starts[bare]])
    row = np.concatenate([row, bare])
    single = (np.bincount(row, minlength=rows) == 1) & wanted
    keep = single[row]
    found, row = found[keep], row[keep]
    order = np.argsort(found, kind="stable")
    found, row = found[order], row[order]
    values = np.zeros(rows, np.float64)
    values[row] = parse(data, found, number_ends(text, found, ends[row]))
    valid = np.zeros(rows, np.bool_)
    valid[row] = True
    return pa.array(values, mask=~valid)


def field_starts(text: np.ndarray, ends: np.ndarray, *, escapes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Give where the numbers of fields start, and in which row."""
    quotes = np.flatnonzero(text == QUOTE)
    if escapes:
        quotes = quotes[~escaped(text, quotes)]
    row = np.searchsorted(ends, quotes, side="right")
    first = np.searchsorted(quotes, np.concatenate([[0], ends[:-1]]))
    closing = (np.arange(len(quotes)) - first[row]) % 2 == 1
    closing &= quotes + 2 < ends[row]
    quotes, row = quotes[closing], row[closing]
    good = (text[quotes + 1] == COLON) & STARTS[text[quotes + 2]]
    return quotes[good] + 2, row[good]


def escaped(text: np.ndarray, quotes: np.ndarray) -> np.ndarray:
    """Say which quotes stand after an odd number of backslashes."""
    places = np.arange(len(text))
    last_other = np.maximum.accumulate(np.where(text != BACKSLASH, places, -1))
    before = np.maximum(quotes - 1, 0)
    odd: np.ndarray = (before - last_other[before]) % 2 == 1
    return odd & (quotes > 0)


def number_ends(text: np.ndarray, found: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Give where each number ends: at the next comma or bracket, or with its row."""
    marks = np.append(np.flatnonzero(ENDS[text]), len(text))
    nearest: np.ndarray = np.minimum(marks[np.searchsorted(marks, found)], ends)
    return nearest


def parse(data: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Read numbers from between these places; one column whose every other text is a number."""
    offsets = np.empty(2 * len(starts), np.int32)
    offsets[::2], offsets[1::2] = starts, ends
    texts = pa.StringArray.from_buffers(max(len(offsets) - 1, 0), pa.py_buffer(offsets), pa.py_buffer(data))
    numbers = texts.take(pa.array(np.arange(0, len(texts), 2)))
    try:
        parsed: np.ndarray = numbers.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return np.array([as_number(number) for number in numbers.to_pylist()], np.float64)
    return parsed


def as_number(text: str) -> float:
    """Read a number that Arrow does not; what is none at all becomes NaN."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
