"""Rows that are not valid stand in the output with their error, and stop nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

from hansang import Batch, Model, Service
from hansang.scoring import score
from tests.scoring.conftest import expected, hours, read, write


@pytest.mark.parametrize("given", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("endpoint", ["/predict", "/columns"])
def test_an_invalid_row_has_its_error_and_the_others_their_prediction(
    service: Service, tmp_path: Path, given: str, endpoint: str
) -> None:
    rows = hours(300)
    rows[7]["hour"], rows[120]["city"], rows[299]["temp"] = 24, "x", -1
    summary = score(service, [write(tmp_path / f"in.{given}", rows)], "out.parquet", endpoint=endpoint, chunk=128)
    assert (summary.rows, summary.predicted, summary.failed) == (300, 297, 3)
    scored = read(tmp_path / "out.parquet")
    faults = {n: row["error"] for n, row in enumerate(scored) if row["error"] is not None}
    assert faults == {
        7: "422: hour: Input should be less than or equal to 23",
        120: "422: city: String should have at least 2 characters",
        299: "422: temp: Input should be greater than or equal to 0",
    }
    assert summary.errors == dict.fromkeys(faults.values(), 1)
    for n, (row, answer) in enumerate(zip(rows, scored, strict=True)):
        assert answer["bikers"] == (None if n in faults else expected(row)["bikers"])
        assert answer["hour"] == row["hour"]


def test_a_broken_line_is_an_error_in_its_place(service: Service, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", hours(5))
    lines = (tmp_path / "in.jsonl").read_bytes().splitlines()
    lines[1], lines[3] = b'{"hour": 1, "te', b"[1, 2]"
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*lines, b"", b'{"hour": 1, "hour": 2, "temp": 0.5, "city": "aa"}']))
    score(service, ["in.jsonl"], "out.jsonl")
    errors = [row["error"] for row in read(tmp_path / "out.jsonl")]
    assert [error is None for error in errors] == [True, False, True, False, True, False]
    assert errors[1].startswith("400: the body is not JSON")
    assert errors[3].startswith("422: row: Input should be")
    assert errors[5] == "422: hour: the name stands twice in one object"


def test_a_csv_line_of_the_wrong_length_is_an_error_in_its_place(service: Service, tmp_path: Path) -> None:
    lines = ["hour,temp,city", *(f"{n % 24},0.5,city" for n in range(50))]
    lines[1], lines[11], lines[50] = "1,0.5", "1,0.5,city,more", "x"
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    score(service, ["in.csv"], "out.parquet", endpoint="/columns", chunk=7)
    scored = read(tmp_path / "out.parquet")
    assert {row["row"]: row["error"] for row in scored if row["error"]} == {
        0: "400: the line has 2 cells; expected 3",
        10: "400: the line has 4 cells; expected 3",
        49: "400: the line has 1 cells; expected 3",
    }
    assert [row["bikers"] for row in scored[1:10]] == [n * 10 + 0.5 for n in range(1, 10)]


def test_cells_that_are_not_utf8_or_not_numbers_are_errors(service: Service, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"hour,temp,city\n1,0.5,\xff\xff\nx,0.5,city\n2,,city\n3,1e-1,city\n")
    score(service, ["in.csv"], "out.parquet", endpoint="/columns")
    assert [row["error"] for row in read(tmp_path / "out.parquet")] == [
        "400: the row is not UTF-8",
        "422: hour: Input should be a valid integer, unable to parse string as an integer",
        "422: temp: Field required",
        None,
    ]


def test_a_row_group_that_is_broken_fails_its_rows_alone(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", hours(3000))
    group = pq.ParquetFile(source).metadata.row_group(1).column(1)
    data = bytearray(source.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    source.write_bytes(data)
    summary = score(service, [source], "out.parquet", chunk=700)
    scored = read(tmp_path / "out.parquet")
    assert (summary.rows, summary.failed) == (3000, 1000)
    assert {row["row"] for row in scored if row["error"]} == set(range(1000, 2000))
    assert scored[1500]["error"].startswith("400: the row group 1 cannot be read")
    assert [row["bikers"] for row in scored[2000:]] == [expected(row)["bikers"] for row in hours(1000, 2000)]


def test_nan_is_a_missing_value_and_infinity_is_refused(tmp_path: Path) -> None:
    class Row(BaseModel):
        x: float
        y: float | None

    values = pa.table({"x": [1.0, math.nan, math.inf, 4.0], "y": [math.nan, 1.0, 1.0, math.inf]})
    pq.write_table(values, "in.parquet")
    service = Service("nan", Model(lambda batch: [row.y is None for row in batch.rows]), input=Row)
    score(service, ["in.parquet"], "out.parquet")
    scored = read(tmp_path / "out.parquet")
    assert [row["prediction"] for row in scored] == [True, None, None, None]
    assert [row["error"] for row in scored[1:]] == [
        "422: x: Field required",
        "422: x: Input should be a finite number",
        "422: y: Input should be a finite number",
    ]


class Value(BaseModel):
    x: float


class Answer(BaseModel):
    y: float = Field(ge=0)


def fail_odd(batch: Batch) -> list[Any]:
    if any(row.x % 2 for row in batch.rows):
        raise ValueError("odd")
    return [{"y": row.x} for row in batch.rows]


def test_a_model_that_raises_for_a_row_fails_that_row_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [0.0, 2.0, 3.0, 4.0]}), "in.parquet")
    summary = score(Service("odd", Model(fail_odd), input=Value, output=Answer), ["in.parquet"], "out.parquet")
    scored = read(tmp_path / "out.parquet")
    assert [row["y"] for row in scored] == [0.0, 2.0, None, 4.0]
    assert scored[2]["error"].startswith("500: ") and "odd" in scored[2]["error"]
    assert summary.failed == 1


def test_a_prediction_that_does_not_fit_its_schema_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, -1.0, math.nan]}), "in.parquet")
    service = Service("y", Model(lambda batch: {"y": batch.numpy(("x",))[:, 0]}), input=Value, output=Answer)
    score(service, ["in.parquet"], "out.parquet")
    scored = read(tmp_path / "out.parquet")
    assert [row["y"] for row in scored] == [1.0, None, None]
    assert scored[1]["error"] == (
        "500: the prediction does not fit the output schema: y: Input should be greater than or equal to 0"
    )


def test_a_run_of_nothing_but_errors_still_has_its_columns(service: Service, tmp_path: Path) -> None:
    summary = score(service, [write(tmp_path / "in.jsonl", [{"hour": 99}] * 3)], "out.csv")
    assert (summary.rows, summary.failed) == (3, 3)
    assert [row["hour"] for row in read(tmp_path / "out.csv")] == [99, 99, 99]


def test_parts_with_different_columns_become_one_output(tmp_path: Path) -> None:
    def answer(batch: Batch) -> list[Any]:
        return [{"a": 1} if row.x < 2 else {"a": 1.5, "b": {"c": row.x}} if row.x < 4 else 7 for row in batch.rows]

    pq.write_table(pa.table({"x": [0.0, 1, 2, 3, 4, 5]}), "in.parquet")
    score(Service("mixed", Model(answer), input=Value), ["in.parquet"], "out.parquet", chunk=2, keep="none")
    scored = read(tmp_path / "out.parquet")
    assert [row["a"] for row in scored] == [1, 1, 1.5, 1.5, None, None]
    assert [row["b"] for row in scored] == [None, None, {"c": 2.0}, {"c": 3.0}, None, None]
    assert [row["prediction"] for row in scored] == [None, None, None, None, 7, 7]
    assert list(scored[0])[-1] == "error"
