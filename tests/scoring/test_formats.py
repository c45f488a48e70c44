"""Every format in and out, globs and folders, and what stands in the output."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hansang.errors import UsageError
from hansang.scoring import score
from hansang.service import Service
from tests.scoring.conftest import expected, hours, read, write

FORMATS = ("parquet", "csv", "jsonl")


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("endpoint", ["/predict", "/columns"])
def test_every_format_goes_in_and_comes_out(
    service: Service, tmp_path: Path, given: str, wanted: str, endpoint: str
) -> None:
    rows = hours(250)
    source, out = write(tmp_path / f"in.{given}", rows), tmp_path / f"out.{wanted}"
    summary = score(service, [source], out, endpoint=endpoint, chunk=100)
    assert (summary.rows, summary.failed) == (250, 0)
    scored = read(out)
    assert [row["row"] for row in scored] == list(range(250))
    for row, answer in zip(rows, scored, strict=True):
        found = {name: answer[name] for name in ("bikers", "city", "parts")}
        found["parts"] = json.loads(found["parts"]) if wanted == "csv" else found["parts"]
        assert found == expected(row)
        assert (answer["hour"], answer["input.city"], answer["error"]) == (row["hour"], row["city"], None)


def test_a_mix_of_files_and_globs_is_one_input(service: Service, tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / f"part-{n}.csv", hours(10, 10 * n))
    write(tmp_path / "last.jsonl", hours(10, 30))
    out = tmp_path / "out.parquet"
    summary = score(service, ["part-*.csv", "last.jsonl", "part-1.csv"], out)
    assert summary.rows == 40
    scored = read(out)
    assert [row["bikers"] for row in scored] == [expected(row)["bikers"] for row in hours(40)]
    assert [row["source"] for row in scored[::10]] == ["part-0.csv", "part-1.csv", "part-2.csv", "last.jsonl"]
    assert [row["row"] for row in scored] == list(range(40))


def test_a_folder_of_parquet_files_is_an_input(service: Service, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for n in range(3):
        write(tmp_path / "days" / f"{n}.parquet", hours(1500, 1500 * n))
    score(service, ["days"], "out.parquet", chunk=400)
    assert [row["bikers"] for row in read(tmp_path / "out.parquet")] == [expected(row)["bikers"] for row in hours(4500)]


def test_a_bare_value_is_the_column_prediction(service: Service, tmp_path: Path) -> None:
    score(service, [write(tmp_path / "in.parquet", hours(5))], "out.jsonl", endpoint="/bare", keep="none")
    assert read(tmp_path / "out.jsonl") == [
        {"row": n, "prediction": row["temp"], "error": None} for n, row in enumerate(hours(5))
    ]


def test_text_stays_text_whatever_it_looks_like(service: Service, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('hour,temp,city,note,zip\n1,0.5,007,,00501\n2,1,"a,""b\nc","",x\n')
    score(service, ["in.csv"], "out.parquet", endpoint="/columns")
    first, second = read(tmp_path / "out.parquet")
    assert (first["city"], first["input.city"], first["note"], first["zip"]) == ("007", "007", None, "00501")
    assert (second["city"], second["input.city"], second["note"], second["temp"]) == ('A,"B\nC', 'a,"b\nc', "", 1.0)


def test_columns_that_the_schema_does_not_know_are_kept_but_not_sent(service: Service, tmp_path: Path) -> None:
    rows = [row | {"day": n, "tags": ["a", n]} for n, row in enumerate(hours(3))]
    source = write(tmp_path / "in.jsonl", [row | {"tags": [1, n]} for n, row in enumerate(hours(3))])
    assert score(service, [source], "refused.parquet").failed == 3  # a line is a whole row, as a body is
    pq.write_table(pa.Table.from_pylist([{**row, "tags": str(row["tags"])} for row in rows]), "in.parquet")
    score(service, ["in.parquet"], "out.parquet")
    assert [row["day"] for row in read(tmp_path / "out.parquet")] == [0, 1, 2]
    score(service, ["in.parquet"], "out.parquet", keep="day,hour")
    assert list(read(tmp_path / "out.parquet")[0]) == ["row", "day", "hour", "bikers", "city", "parts", "error"]


def test_an_input_without_rows_gives_an_output_without_rows(service: Service, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("hour,temp,city\n")
    assert score(service, ["in.csv"], "out.parquet").rows == 0
    assert read(tmp_path / "out.parquet") == []


@pytest.mark.parametrize(
    ("inputs", "out", "says"),
    [
        (["none.csv"], "out.csv", "no file none.csv"),
        (["none-*.csv"], "out.csv", "no file matches"),
        (["notes.txt"], "out.csv", "notes.txt is not read: give files that end in"),
        (["in.csv"], "out.xlsx", "must end in .parquet, .csv or .jsonl"),
        (["in.csv"], "in.csv", "one of the inputs"),
        (["in.csv"], "missing/out.csv", "no folder"),
        (["empty"], "out.csv", "no Parquet files in the folder"),
        (["short.csv"], "out.csv", "short.csv lacks the columns city, temp, which /predict needs; it has: hour"),
        (["blank.csv"], "out.csv", "blank.csv has no header line"),
        (["twice.csv"], "out.csv", "names a column twice: hour"),
        (["broken.parquet"], "out.csv", "broken.parquet is not a whole Parquet file"),
    ],
)
def test_what_is_wrong_before_the_run_is_said(
    service: Service, tmp_path: Path, inputs: list[str], out: str, says: str
) -> None:
    write(tmp_path / "in.csv", hours(2))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.csv").write_text("hour\n1\n")
    (tmp_path / "twice.csv").write_text("hour,hour\n1,1\n")
    (tmp_path / "blank.csv").write_text("")
    whole = write(tmp_path / "whole.parquet", hours(100)).read_bytes()
    (tmp_path / "broken.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError) as caught:
        score(service, inputs, out)
    assert says in str(caught.value)
    assert not (tmp_path / "out.csv.parts").exists()


def test_wrong_options_are_said(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", hours(2))
    with pytest.raises(UsageError, match="no endpoint '/no'; the service has: /predict, /columns, /bare"):
        score(service, [source], "out.csv", endpoint="/no")
    with pytest.raises(UsageError, match="no column day to keep"):
        score(service, [source], "out.csv", keep="day")
    with pytest.raises(UsageError, match="at least 1"):
        score(service, [source], "out.csv", chunk=0)
    with pytest.raises(UsageError, match="several processes need target="):
        score(service, [source], "out.csv", processes=2)
