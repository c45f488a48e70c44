"""The number in an answer, found without parsing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansang.record.output_value import single_numbers

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text(alphabet='ab":\\1-,}] 가', max_size=6)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(st.text(alphabet='ab":1', max_size=3), inner, max_size=3) | st.lists(inner, max_size=2)
    ),
    max_leaves=6,
)


def values_of(bodies: list[bytes], wanted: list[bool] | None = None) -> list[float | None]:
    sizes = np.array([len(body) for body in bodies], np.int32)
    mask = np.array(wanted if wanted is not None else [True] * len(bodies), np.bool_)
    values: list[float | None] = single_numbers(sizes, b"".join(bodies), mask).to_pylist()
    return values


def fields(tree: Any) -> list[float]:
    """Every number that is the value of a field, at any depth."""
    if isinstance(tree, dict):
        own = [
            float(value) for value in tree.values() if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        return own + [number for value in tree.values() for number in fields(value)]
    return [number for item in tree for number in fields(item)] if isinstance(tree, list) else []


def plainly(tree: Any) -> float | None:
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return float(tree)
    found = fields(tree)
    return found[0] if len(found) == 1 else None


@settings(deadline=None)
@given(st.lists(trees, max_size=5), st.booleans())
def test_it_is_the_only_field_that_is_a_number(outputs: list[Any], ascii_only: bool) -> None:
    bodies = [json.dumps(output, separators=(",", ":"), ensure_ascii=ascii_only).encode() for output in outputs]
    assert values_of(bodies) == [plainly(output) for output in outputs]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"y":1.5}', 1.5),
        (b"-3", -3.0),
        (b'{"age":34.25,"gender":"male"}', 34.25),
        (b'{"a":{"b":1e-3}}', 0.001),
        (b'{"a":1,"b":2}', None),
        (b'{"p":[0.1,0.9]}', None),
        (b'"12"', None),
        (b"null", None),
        (b"", None),
        (b"{}", None),
    ],
)
def test_examples(body: bytes, value: float | None) -> None:
    assert values_of([b'{"y":7}', body, b'{"y":8}']) == [7.0, value, 8.0]


def test_a_failed_row_has_no_value() -> None:
    assert values_of([b'{"status":422}', b'{"y":1}'], [False, True]) == [None, 1.0]
