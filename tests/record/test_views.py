"""The record in other hands: plain DuckDB, pandas, polars, one file; and `records` on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from hansang.cli.main import app
from hansang.errors import RecordError, UsageError
from hansang.record import Recorder
from hansang.record.feedback import feedback_recorder
from hansang.record.moments import read_moment, read_span
from hansang.record.read import connect, query, read_records
from tests.record.making import TIME, compact, id_at, predicted, truth_of

NAMES = "id, row, status, output_value, truth_value, shadow_version"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three predictions and one truth, in Parquet files."""
    record = tmp_path / "it's a record"
    recorder = Recorder(record)
    for number in range(3):
        recorder.write([predicted(TIME + 3600 * number, number)])
        recorder.roll()
    compact(record)
    return record


def tell(folder: Path) -> None:
    recorder = feedback_recorder(folder)
    recorder.write([truth_of(id_at(TIME, 0), b"0.25", TIME + 9)])
    recorder.roll()
    compact(folder)


def plain(folder: Path) -> list[tuple[Any, ...]]:
    """The outcomes in a DuckDB that knows nothing of us."""
    with duckdb.connect() as connection:
        connection.execute((folder / "views.sql").read_text())
        return connection.execute(f"SELECT {NAMES} FROM outcomes ORDER BY id").fetchall()


def test_the_views_open_in_plain_duckdb_before_and_after_there_is_feedback(folder: Path) -> None:
    for told in (False, True):
        if told:
            tell(folder)
        with connect(folder) as connection:
            ours = [
                tuple(row.values())
                for row in query(connection, f"SELECT {NAMES} FROM outcomes ORDER BY id").to_pylist()
            ]
        assert plain(folder) == ours
        assert ours[0][4] == (0.25 if told else None)


def test_the_views_follow_a_record_that_moved_by_one_line(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    script = (moved / "views.sql").read_text()
    script = re.sub("SET VARIABLE records = .*", f"SET VARIABLE records = '{moved}';", script)
    with duckdb.connect() as connection:
        connection.execute(script)
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (3,)


def test_the_files_open_in_pandas_and_polars_with_the_day_as_a_column(folder: Path) -> None:
    pl = pytest.importorskip("polars")
    tell(folder)
    frame = pd.read_parquet(folder / "predictions")
    assert sorted(frame["output_value"]) == [0.5, 0.5, 0.5]
    assert set(frame["dt"].astype(str)) == {"2026-11-18"}
    lazy = pl.scan_parquet(folder / "predictions" / "**" / "*.parquet", hive_partitioning=True)
    truth = pl.read_parquet(folder / "feedback" / "**" / "*.parquet")
    joined = lazy.collect().join(truth, on=["id", "row"], how="left")
    assert joined.sort("id")["truth_value"].to_list() == [0.25, None, None]
    assert len(pl.from_arrow(read_records(folder, columns=["id", "truth"]))) == 3


def test_a_part_of_the_record_is_one_arrow_table_in_the_order_of_time(folder: Path) -> None:
    tell(folder)
    everything = read_records(folder)
    assert everything["time"].to_pylist() == sorted(everything["time"].to_pylist())
    part = read_records(folder, since=TIME + 1, until=TIME + 7200, columns=["id", "status"], where="status = 200")
    assert part.to_pylist() == [{"id": id_at(TIME + 3600, 1), "status": 200}]
    assert read_records(folder, view="feedback").num_rows == 1
    assert read_records(folder, where="truth IS NOT NULL").num_rows == 1
    with pytest.raises(RecordError, match="no view 'x'"):
        read_records(folder, view="x")
    with pytest.raises(RecordError, match="nothing"):
        read_records(folder, columns=["nothing"])


def test_moments_are_read_as_people_write_them() -> None:
    assert read_moment("2026-11-18") == read_moment("2026-11-18T09:00+09:00") == 1_794_960_000
    assert read_moment("2h") == pytest.approx(read_moment("120m"), abs=5)
    assert read_span("1.5h") == 5400
    with pytest.raises(UsageError, match="since: 'soon' is no moment; write 2026-11-23"):
        read_moment("soon")


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["records", *arguments], env={"HANSANG_RECORDS": str(folder)})


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_part_is_exported_to_a_file_of_every_format(folder: Path, tmp_path: Path, suffix: str) -> None:
    tell(folder)
    out = tmp_path / f"part{suffix}"
    result = run(
        folder, "export", str(out), "--since", "2026-11-18T11:30", "--columns", "id, output", "--where", "row = 0"
    )
    assert (result.exit_code, result.stdout) == (0, f"2 rows in {out}\n")
    if suffix == ".parquet":
        assert pq.read_table(out)["output"].to_pylist() == ['{"y":0.5}'] * 2
    elif suffix == ".csv":
        assert len(out.read_text().splitlines()) == 3
    else:
        assert [json.loads(line)["output"] for line in out.read_text().splitlines()] == [{"y": 0.5}] * 2
    assert list(tmp_path.glob(".*")) == []


def test_an_export_that_fails_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    assert "must end in" in str(run(folder, "export", str(tmp_path / "x.xls")).exception)
    result = run(folder, "export", str(tmp_path / "x.csv"), "--where", "nothing = 1")
    assert (result.exit_code, "nothing" in result.stderr) == (1, True)
    assert list(tmp_path.glob("*x.csv*")) == []


def test_status_tells_what_there_is_and_how_long_it_is_kept(folder: Path) -> None:
    tell(folder)
    rows = {row["kind"]: row for row in map(json.loads, run(folder, "status", "--json").stdout.splitlines())}
    assert (rows["predictions"]["rows"], rows["predictions"]["files"], rows["feedback"]["rows"]) == (3, 3, 1)
    assert rows["predictions"]["oldest"] == "2026-11-18T11:06:40Z"
    assert run(folder, "status").stdout.splitlines()[-1] == "predictions are kept without a limit"


def test_show_gives_a_prediction_with_its_feedback(folder: Path) -> None:
    tell(folder)
    row = json.loads(run(folder, "show", id_at(TIME, 0), "--json").stdout)
    assert (row["output"], row["feedback"][0]["truth"]) == ({"y": 0.5}, 0.25)
    assert "0.25" in run(folder, "show", id_at(TIME, 0)).stdout
    assert "predictions are kept without a limit" in run(folder, "show", id_at(TIME, 9)).stderr
