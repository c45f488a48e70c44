"""Validation by column says what validation by row says."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, create_model

from hansang.batch import Batch
from hansang.codec import Codec
from hansang.models.schema import input_schema
from hansang.models.signature import Column, Scalar, Signature
from hansang.scoring.answers import AnswerWriter
from hansang.scoring.chunk import Chunk
from hansang.scoring.columns import column_reader
from hansang.scoring.fields import plain_fields
from hansang.scoring.rows import RowReader

KINDS: list[Any] = [
    int,
    float,
    str,
    bool,
    Annotated[int, Field(ge=-3, lt=7)],
    Annotated[int, Field(multiple_of=3)],
    Annotated[int, Field(strict=True)],
    Annotated[int, Field(gt=2**62, le=2**70)],
    Annotated[float, Field(gt=-1.5, le=2.5)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[str, Field(min_length=1, max_length=2)],
    Annotated[str, Field(pattern="^[ab]+$")],
    Literal["a", "b"],
    Literal[1, 2],
]
small = st.integers(-9, 9)
COLUMNS = st.one_of(
    st.lists(st.none() | small, min_size=1, max_size=6).map(lambda v: pa.array(v, pa.int32())),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.uint64())),
    st.lists(st.none() | st.floats(), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | small.map(float), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | st.floats(width=32), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.float32())),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.none() | st.text("ab1é-", max_size=3), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6).map(
        lambda v: pa.array(v, pa.string()).dictionary_encode()
    ),
    st.integers(1, 3).map(pa.nulls),
)
CELLS = st.one_of(
    st.sampled_from([b"1", b"007", b"-0", b"+1", b" 1", b"1.0", b"1e3", b"true", b"nan", b"x", b"", b"\xff", None]),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
    st.floats().map(lambda x: str(x).encode()),
    st.text("ab", max_size=3).map(str.encode),
)  # fmt: skip


def schema_of(kind: Any, nullable: bool, default: bool, strict: bool) -> type[BaseModel]:
    value = {int: 1, float: 0.5, bool: True}.get(kind, "a" if kind is str else None)
    annotation = kind | None if nullable or (default and value is None) else kind
    return create_model("Row", __config__=ConfigDict(strict=strict), x=(annotation, value if default else ...))


SCHEMAS = st.builds(schema_of, st.sampled_from(KINDS), st.booleans(), st.booleans(), st.booleans())


def agree(schema: Any, chunk: Chunk) -> None:
    """Whatever the columns vouch for is valid row by row, with the same value."""
    by_column = column_reader(schema)
    assert by_column is not None
    columns, valid = by_column.read(chunk)
    found = Batch.of_columns(columns, by_column.make)
    by_row = RowReader(Codec(schema)).read(chunk, range(chunk.rows))
    for position, row in enumerate(by_row):
        if valid is None or valid[position]:
            assert not isinstance(row, Exception), (row, chunk)
            assert found.take([position]).rows == [row]


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, COLUMNS)
def test_a_column_of_a_file_is_as_valid_as_its_rows(schema: Any, column: Any) -> None:
    agree(schema, Chunk(0, 0, "", "table", len(column), pa.table({"x": column})))


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, st.lists(CELLS, min_size=1, max_size=5))
def test_a_column_of_cells_is_as_valid_as_its_rows(schema: Any, cells: list[bytes | None]) -> None:
    table = pa.table({"x": pa.array(cells, pa.binary())})
    agree(schema, Chunk(0, 0, "", "text", len(cells), table))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["boolean", "integer", "long", "float", "double", "string"]), st.booleans(), COLUMNS)
def test_a_models_own_schema_is_checked_by_column_too(kind: str, required: bool, column: Any) -> None:
    signature = Signature((Column("x", Scalar(kind), required),))
    agree(input_schema(signature), Chunk(0, 0, "", "table", len(column), pa.table({"x": column})))


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (int, pa.array([1, 2, 3], pa.int8())),
        (int, pa.array([1.0, -2.0])),
        (float, pa.array([1, 2])),
        (float, pa.array([0.5, 1.5], pa.float32())),
        (float | None, pa.array([0.5, None, math.nan])),
        (str, pa.array(["a", "b", "a"]).dictionary_encode()),
        (Annotated[str, Field(pattern="^[ab]+$")], pa.array(["a", "b", "ab"])),
        (Literal["a", "b"] | None, pa.array(["a", None])),
        (bool, pa.array([True, False])),
    ],
)
def test_the_usual_columns_need_no_look_at_their_rows(kind: Any, column: Any) -> None:
    schema = create_model("Row", x=(kind, ...))
    by_column = column_reader(schema)
    assert by_column is not None
    _, valid = by_column.read(Chunk(0, 0, "", "table", len(column), pa.table({"x": column})))
    assert valid is None or valid.all()


def test_what_is_not_plain_is_left_to_the_rows() -> None:
    class Inner(BaseModel):
        y: int

    kinds: list[Any] = [
        Inner,
        list[int],
        Annotated[int, AfterValidator(abs)],
        int | str,
        Annotated[int, Field(alias="z")],
    ]
    for kind in kinds:
        assert plain_fields(TypeAdapter(create_model("Row", x=(kind, ...)))) is None
    assert (
        plain_fields(TypeAdapter(create_model("Row", __config__=ConfigDict(extra="allow"), x=(int, ...)))) is not None
    )
    config = ConfigDict(str_strip_whitespace=True)
    assert plain_fields(TypeAdapter(create_model("Row", __config__=config, x=(str, ...)))) is None


# --- predictions ---

ARRAYS = st.one_of(
    st.lists(st.floats(), min_size=1, max_size=5).map(np.array),
    st.lists(st.floats(width=32), min_size=1, max_size=5).map(lambda v: np.array(v, np.float32)),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5).map(np.array),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5).map(lambda v: np.array(v, float)),
    st.lists(st.booleans(), min_size=1, max_size=5).map(np.array),
    st.lists(st.text("ab", max_size=3), min_size=1, max_size=5).map(np.array),
    st.lists(st.none() | st.text("ab", max_size=2), min_size=1, max_size=5).map(lambda v: np.array(v, object)),
    st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=4).map(np.array),
    st.lists(st.tuples(small, small), min_size=1, max_size=4).map(np.array),
)
LISTS: list[Any] = [
    list[float],
    list[float | None],
    Annotated[list[int], Field(max_length=2)],
    Annotated[list[float], Field(min_length=3)],
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*KINDS, *LISTS]), st.booleans(), st.booleans(), ARRAYS)
def test_a_prediction_by_column_is_the_prediction_by_row(kind: Any, nullable: bool, strict: bool, array: Any) -> None:
    output = create_model("Out", __config__=ConfigDict(strict=strict), x=(kind | None if nullable else kind, ...))
    writer = AnswerWriter(Codec(create_model("Row", z=(int, 1)), output))
    assert writer.fields is not None
    table, errors = writer.write(Batch.of_columns({"x": array}))
    expected_table, expected_errors = writer._rows(Batch.of_columns({"x": array}).rows)
    assert {n: str(e) for n, e in errors.items()} == {n: str(e) for n, e in expected_errors.items()}
    assert table.to_pylist() == expected_table.to_pylist()


@settings(max_examples=200, deadline=None)
@given(ARRAYS)
def test_a_prediction_without_a_schema_is_the_same_by_column_and_by_row(array: Any) -> None:
    writer = AnswerWriter(Codec(create_model("Row", z=(int, 1))))
    table, errors = writer.write(Batch.of_columns({"x": array}))
    assert not errors
    assert table.to_pylist() == writer._rows(Batch.of_columns({"x": array}).rows)[0].to_pylist()
