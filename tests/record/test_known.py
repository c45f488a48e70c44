"""Which predictions there are: exact for old ids, believing for new ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hansang.record import Recorder, known
from hansang.record.files import ids_path
from hansang.record.ids import read_span
from hansang.record.known import RECENT, Known
from tests.record.making import TIME, compact, id_at, predicted

LATER = TIME + 10 * 86400


def asked(folder: Path, now: float = LATER) -> Known:
    return Known(folder, clock=lambda: now)


def test_an_id_is_found_in_files_in_closed_and_in_open_segments(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    ids = []
    for number in range(3):
        moment = TIME + number
        recorder.write([predicted(moment, number, number + 10)])
        ids += [id_at(moment, number), id_at(moment, number + 10)]
        if number < 2:
            recorder.roll()
        if number == 0:
            compact(tmp_path)
    others = [id_at(TIME, 5), id_at(TIME + 2, 1), id_at(TIME + 86400)]
    assert asked(tmp_path).missing([*ids, *others]) == set(others)


def test_a_slow_answer_is_found_under_the_day_on_which_it_was_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    rows = predicted(TIME, 1)
    rows.time = TIME + 86000
    recorder.write([rows])
    recorder.roll()
    compact(tmp_path)
    assert asked(tmp_path).missing([id_at(TIME, 1)]) == set()


def test_a_recent_id_is_believed_for_another_process_may_be_writing_it(tmp_path: Path) -> None:
    new, old, ahead = (id_at(TIME + seconds) for seconds in (1 - RECENT, -RECENT - 1, 90))
    assert asked(tmp_path, TIME).missing([new, old, ahead]) == {old, ahead}


def test_files_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    here = asked(tmp_path)
    recorder = Recorder(tmp_path)
    for number in range(2):
        assert here.missing([id_at(TIME, number)]) == {id_at(TIME, number)}
        recorder.write([predicted(TIME, number)])
        recorder.roll()
        compact(tmp_path)
        assert here.missing([id_at(TIME, number)]) == set()
    for path in tmp_path.glob("predictions/*/*.parquet"):
        path.unlink()
    assert here.missing([id_at(TIME, 0)]) == {id_at(TIME, 0)}


def test_a_file_without_its_ids_is_given_the_benefit_of_the_doubt(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([predicted(TIME, 1)])
    recorder.roll()
    compact(tmp_path)
    (path,) = tmp_path.glob("predictions/*/*.parquet")
    assert read_span(ids_path(path)) is not None
    ids_path(path).write_bytes(b"torn")
    assert read_span(ids_path(path)) is None
    assert asked(tmp_path).missing([id_at(TIME, 9)]) == set()


def test_looking_up_needs_neither_arrow_nor_duckdb() -> None:
    code = f"import {known.__name__}, sys; sys.exit(bool({{'duckdb', 'pyarrow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
