"""`hansang feedback`: truths from files, as a person and as a program load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from hansang.cli.main import app
from hansang.record import Recorder
from hansang.record.read import connect, query
from tests.record.making import TIME, id_at, predicted

IDS = [id_at(TIME, number) for number in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five predictions: request ids, and keys of two users."""
    recorder = Recorder(tmp_path / "records")
    keys, requests = ["ann", "bob", "ann", "bob", "ann"], ["order-7"] * 3 + ["order-8"] * 2
    for number in range(5):
        rows = predicted(TIME, number, keys=[keys[number]], request_ids=[requests[number]])
        rows.time = TIME + number * 60
        recorder.write([rows])
    recorder.roll()
    return tmp_path / "records"


def run(folder: Path, *arguments: str | Path) -> Result:
    command = ["feedback", *map(str, arguments), "--dir", str(folder)]
    return CliRunner().invoke(app, command)


def truths(folder: Path) -> dict[str, Any]:
    with connect(folder) as connection:
        rows = query(connection, "SELECT id, truth, score FROM outcomes WHERE truth IS NOT NULL").to_pylist()
    return {row["id"]: json.loads(row["truth"]) for row in rows}


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_truths_come_from_files_of_every_format(folder: Path, tmp_path: Path, suffix: str) -> None:
    file = write(
        tmp_path / f"truth{suffix}", {"prediction": IDS[:3], "minutes": [1.5, None, 3.5], "score": [None, 1, 2]}
    )
    result = run(folder, file, "--id-column", "prediction", "--truth-column", "minutes", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"accepted": 3, "empty": 0, "failed": 0, "errors": {}})
    assert truths(folder) == {IDS[0]: 1.5, IDS[2]: 3.5}
    assert list((folder / "feedback").glob("*/*.parquet"))
    assert not (folder / "spool" / "feedback").exists() or not list((folder / "spool" / "feedback").iterdir())


def test_labels_objects_times_and_sources_are_kept(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    rows = [
        {"id": IDS[0], "truth": {"age": 7}, "time": "2026-11-20", "source": "lab"},
        {"id": IDS[1].upper(), "truth": "cat", "time": 1_795_100_000},
        {"id": IDS[2]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    result = run(folder, file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "rows of feedback kept: 2", "rows that say nothing yet, neither truth nor score: 1",
    ]  # fmt: skip
    with connect(folder) as connection:
        kept = query(connection, "SELECT truth, truth_value, time, source FROM feedback ORDER BY id").to_pylist()
    assert [(row["truth"], row["truth_value"], row["source"]) for row in kept] == [
        ('{"age":7}', 7.0, "lab"), ('"cat"', None, None),
    ]  # fmt: skip
    assert kept[0]["time"].isoformat() == "2026-11-20T00:00:00"


def test_rows_that_are_wrong_stand_beside_the_file_and_the_others_are_kept(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    lines = [
        json.dumps({"id": IDS[0], "truth": 1}),
        "{",
        json.dumps({"id": "42", "truth": 1}),
        json.dumps({"id": id_at(TIME, 99), "truth": 1}),
        json.dumps({"id": IDS[1], "truth": 1, "row": -1}),
        json.dumps({"id": IDS[1], "truth": float("nan")}),
        json.dumps({"id": IDS[1], "truth": 1, "time": "yesterday"}),
    ]
    file.write_text("\n".join(lines))
    result = run(folder, file)
    assert result.exit_code == 1
    assert "rows of feedback kept: 1\nrows not taken: 6; they are in " in result.stdout
    errors = [json.loads(line) for line in (tmp_path / "truth.jsonl.errors.jsonl").read_text().splitlines()]
    assert {error["row"]: error["error"].partition(";")[0] for error in errors} == {
        1: "the line is not JSON",
        2: "the id is no x-prediction-id, a UUID of version 7",
        3: "no such prediction in the record",
        4: "the row is no whole number from 0",
        5: "the truth is not a finite number",
        6: "time: 'yesterday' is no moment",
    }
    assert truths(folder) == {IDS[0]: 1}


def test_loading_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "truth.csv", {"id": IDS, "truth": list(range(5))})
    for _ in range(2):
        assert run(folder, file).exit_code == 0
    with connect(folder) as connection:
        assert query(connection, "SELECT count(*) AS n FROM feedback").to_pylist() == [{"n": 5}]
    assert truths(folder) == dict(zip(IDS, range(5), strict=True))


def test_a_request_id_names_all_its_rows_and_an_unknown_one_is_an_error(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "truth.csv", {"request_id": ["order-7", "order-9"], "truth": [1, 2]})
    assert run(folder, file, "--by", "request_id").exit_code == 1
    assert truths(folder) == dict.fromkeys(IDS[:3], 1)


def test_a_key_names_the_newest_prediction_before_the_truth_within_its_time(folder: Path, tmp_path: Path) -> None:
    times = [TIME + 130, TIME + 200, TIME + 100_000, TIME - 5]
    file = write(tmp_path / "truth.csv", {"key": ["ann", "bob", "ann", "bob"], "time": times, "truth": [1, 2, 3, 4]})
    assert run(folder, file, "--by", "key", "--within", "1h").exit_code == 1
    assert truths(folder) == {IDS[2]: 1, IDS[3]: 2}


@pytest.mark.parametrize(
    ("columns", "arguments", "text"),
    [
        ({"x": [1], "truth": [1]}, [], "no column 'id'; there are x, truth (see --id-column)"),
        ({"id": [1], "x": [1]}, [], "no column 'truth' or 'score'"),
        ({"key": ["a"], "truth": [1]}, ["--by", "key"], "give --time-column"),
        ({"id": [1], "truth": [1]}, ["--within", "soon"], "write 90m, 12h or 7d"),
        ({"id": [1], "truth": [1]}, ["--row-column", "n"], "no column 'n'"),
    ],
)
def test_what_is_wrong_with_the_whole_file_is_said(
    folder: Path, tmp_path: Path, columns: dict[str, list[Any]], arguments: list[str], text: str
) -> None:
    result = run(folder, write(tmp_path / "truth.parquet", columns), *arguments)
    assert text in str(result.exception)


def test_predictions_that_are_kept_elsewhere_are_taken_when_so_asked(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "truth.csv", {"id": [id_at(TIME, 99)], "truth": [1]})
    assert run(folder, file, "--unchecked").exit_code == 0
