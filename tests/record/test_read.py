"""The view: every row once, whatever writers and the compactor do meanwhile."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hansang.errors import RecordError
from hansang.record import Recorder, read
from hansang.record.feedback import feedback_recorder
from hansang.record.segment import list_segments
from hansang.record.table import SCHEMA
from tests.record.making import ROOT, SHARED, TIME, MakeRows, ReadRows, compact, truth_of, writer_command


def test_parquet_closed_and_open_segments_are_one_view(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows
) -> None:
    recorder = Recorder(tmp_path)
    for first in (0, 2, 4):
        recorder.roll()
        if first == 2:
            compact(tmp_path)
        recorder.write([make_rows(first, 2)])
    assert len(list(tmp_path.glob("predictions/*/*.parquet"))) == 1
    assert len(list_segments(tmp_path, ".open", ".closed")) == 2
    assert [row["output_value"] for row in read_rows(tmp_path)] == [n + 0.5 for n in range(6)]


def test_the_view_has_the_same_columns_with_and_without_parquet(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 2)])
    described = []
    for _ in range(2):
        with read.connect(tmp_path) as connection:
            described.append(read.query(connection, "DESCRIBE predictions").to_pylist())
        recorder.roll()
        compact(tmp_path)
    assert described[0] == described[1]
    assert [column["column_name"] for column in described[0]] == SCHEMA.names


def test_a_segment_compacted_between_listing_and_opening_is_there_once(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 4)])
    recorder.roll()

    def list_then_compact(folder: Path, *suffixes: str, kind: str = "predictions") -> list[Path]:
        found = list_segments(folder, *suffixes, kind=kind)
        compact(folder)
        return found

    monkeypatch.setattr(read, "list_segments", list_then_compact)
    assert len(read_rows(tmp_path)) == 4


def test_a_segment_closed_between_listing_and_opening_is_there_once(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 4)])

    def list_then_close(folder: Path, *suffixes: str, kind: str = "predictions") -> list[Path]:
        found = list_segments(folder, *suffixes, kind=kind)
        recorder.roll()
        return found

    monkeypatch.setattr(read, "list_segments", list_then_close)
    assert len(read_rows(tmp_path)) == 4


def test_a_segment_compacted_after_it_was_read_is_there_once(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 4)])
    recorder.roll()
    decode = read.segment_table

    def decode_then_compact(segment: Path, since: float | None) -> pa.Table | None:
        table = decode(segment, since)
        compact(tmp_path)
        return table

    monkeypatch.setattr(read, "segment_table", decode_then_compact)
    assert len(read_rows(tmp_path)) == 4


def test_four_writers_and_two_readers_at_once_see_consistent_views(
    tmp_path: Path, read_rows: ReadRows, wait_for_compactor: Callable[[Path], None]
) -> None:
    count = 1500
    faults: list[object] = []
    views = [0, 0]
    finished = threading.Event()

    def look(reader: int) -> None:
        seen: set[str] = set()
        while not finished.is_set():
            ids = [row["id"] for row in read_rows(tmp_path, "id")]
            if len(ids) != len(set(ids)) or not seen <= set(ids):
                faults.append((len(ids), len(set(ids)), len(seen - set(ids))))
            seen = set(ids)
            views[reader] += 1

    readers = [threading.Thread(target=look, args=(reader,)) for reader in range(2)]
    commands = [writer_command(tmp_path, first, count, 500) for first in range(0, 4 * count, count)]
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for command in commands]
    for reader in readers:
        reader.start()
    try:
        assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    finally:
        finished.set()
        for reader in readers:
            reader.join()
    wait_for_compactor(tmp_path)
    assert faults == []
    assert min(views) > 2
    assert [int(row["id"][-12:]) for row in read_rows(tmp_path, "id")] == list(range(4 * count))


def test_a_truth_told_while_the_record_is_opened_is_not_there_without_its_prediction(
    tmp_path: Path, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, feedback = Recorder(tmp_path), feedback_recorder(tmp_path)
    predictions.write([make_rows(0, 1)])

    def predict_and_tell(folder: Path, *suffixes: str, kind: str = "predictions") -> list[Path]:
        found = list_segments(folder, *suffixes, kind=kind)
        rows = make_rows(predictions.rows_written, 1)
        predictions.write([rows])
        feedback.write([truth_of(rows.ids[0], b"1", TIME + 1)])
        return found

    monkeypatch.setattr(read, "list_segments", predict_and_tell)
    with read.connect(tmp_path) as connection:
        orphans = read.query(connection, "SELECT * FROM feedback ANTI JOIN predictions USING (id, row)")
        assert read.query(connection, "SELECT count(*) AS rows FROM predictions").to_pylist() == [{"rows": 3}]
    assert orphans.num_rows == 0


def test_a_long_query_prints_nothing(tmp_path: Path) -> None:
    with read.connect(tmp_path) as connection:
        setting = read.query(connection, "SELECT current_setting('enable_progress_bar') AS shown")
    assert setting.to_pylist() == [{"shown": False}]


def test_since_leaves_out_files_that_were_written_before(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    for first in (0, 1):
        recorder.write([make_rows(first, 1)])
        recorder.roll()
    old, new = sorted((tmp_path / "spool").iterdir(), key=lambda path: path.stat().st_ino)
    os.utime(old, (TIME, TIME))
    with read.connect(tmp_path, since=TIME + 1) as connection:
        assert read.query(connection, "SELECT count(*) AS rows FROM predictions").to_pylist() == [{"rows": 1}]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing FROM predictions", 'Referenced column "nothing" not found'),
        ("SELEC 1", "syntax error at or near"),
        ("SELECT 1; SELECT 2", "read with a single SELECT"),
        ("COPY (SELECT 1) TO 'x.csv'", "read with a single SELECT"),
        ("CREATE TABLE x AS SELECT 1", "read with a single SELECT"),
        ("SET threads = 1", "read with a single SELECT"),
        ("", "read with a single SELECT"),
        ("SELECT 'x'::INTEGER", "Could not convert string"),
    ],
)
def test_a_query_that_is_wrong_or_would_change_something_is_refused_in_words(
    tmp_path: Path, sql: str, message: str
) -> None:
    with read.connect(tmp_path) as connection, pytest.raises(RecordError, match=message):
        read.query(connection, sql)


def test_a_folder_whose_name_needs_quoting_is_read(tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows) -> None:
    folder = tmp_path / "it's [a] *folder?"
    recorder = Recorder(folder)
    recorder.write([make_rows(0, 2)])
    recorder.roll()
    compact(folder)
    assert len(read_rows(folder)) == 2


def test_pairs_set_every_other_answer_beside_the_live_one(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows
) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 3)])
    shared = replace(SHARED, model="challenger", role="shadow")
    half = {"shared": shared, "inputs": [b""] * 2, "numbers": [0, 0]}
    recorder.write([make_rows(1, 2, **half, outputs=[b'{"y":1.5}', b""], statuses=[200, 500], errors=[None, "bad"])])
    recorder.write([make_rows(7, 1, shared=shared, outputs=[b"1"])])
    compact(tmp_path)
    with read.connect(tmp_path) as database:
        pairs = read.query(database, "SELECT * FROM pairs ORDER BY id").to_pylist()
    assert [(pair["role"], pair["live_model"], pair["other_model"]) for pair in pairs] == [
        ("shadow", "models:/bikes", "challenger")
    ] * 2
    assert [(pair["live_output_value"], pair["other_output_value"], pair["same"]) for pair in pairs] == [
        (1.5, 1.5, True),
        (2.5, None, False),
    ]
    assert [pair["input"] for pair in pairs] == ['{"x":1}', '{"x":2}']
    assert [pair["other_error"] for pair in pairs] == [None, "bad"]
