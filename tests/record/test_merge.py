"""Merging and retention: fewer files, the same rows, and no reader that sees them twice or not at all."""

from __future__ import annotations

import gc
import os
import random
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hansang.record import Recorder, merge
from hansang.record.feedback import feedback_recorder
from hansang.record.files import alone, file_time, hold, ids_path, parquet_files
from hansang.record.keep import Keep, read_deleted, retention_words, set_keep
from hansang.record.known import Known
from hansang.record.read import connect, query
from hansang.record.upkeep import Upkeep
from tests.record.making import TIME, compact, id_at, predicted, truth_of

NOON = 1_795_003_200.0  # 2026-11-18T12:00:00Z
DAY = 86400.0


class Crash(BaseException):
    """The process dies here."""


def fill(folder: Path, times: list[float]) -> list[str]:
    """A file for each of these times; gives the ids."""
    recorder, ids = Recorder(folder), []
    for number, moment in enumerate(times):
        recorder.write([predicted(moment, number, number + 1000)])
        recorder.roll()
        ids += [id_at(moment, number), id_at(moment, number + 1000)]
    compact(folder)
    return ids


def upkeep(folder: Path, now: float) -> Upkeep:
    keeper = Upkeep(folder, clock=lambda: now)
    for _ in keeper.steps():
        pass
    return keeper


def ids_of(folder: Path) -> list[str]:
    with connect(folder) as connection:
        rows = query(connection, "SELECT id FROM predictions ORDER BY id").to_pylist()
    del connection
    gc.collect()
    return [row["id"] for row in rows]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("predictions/*/*"))


def test_files_of_an_hour_and_then_of_a_day_become_one_sorted_file(tmp_path: Path) -> None:
    times = [NOON + hour * 3600 + minute * 60 for hour in range(3) for minute in (30, 10, 20)]
    ids = fill(tmp_path, times)
    upkeep(tmp_path, NOON + 3 * 3600 + 700)
    assert len(names(tmp_path)) == 3
    assert ids_of(tmp_path) == sorted(ids)
    keeper = upkeep(tmp_path, NOON + DAY)
    (file,) = tmp_path.glob("predictions/dt=2026-11-18/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    assert rows["time"].to_pylist() == sorted(rows["time"].to_pylist())
    assert rows["id"].to_pylist() == sorted(ids)
    assert Known(tmp_path, clock=lambda: NOON + 9 * DAY).missing(ids) == set()
    assert len(list(tmp_path.glob("ids/*/*/*"))) == 1
    assert list(tmp_path.glob("merges/*")) == []
    assert keeper.wait is not None


def test_the_hour_that_is_not_over_and_a_file_alone_are_left(tmp_path: Path) -> None:
    fill(tmp_path, [NOON, NOON + 3600, NOON + 3700])
    before = names(tmp_path)
    keeper = upkeep(tmp_path, NOON + 2 * 3600 + 599)
    assert names(tmp_path) == before
    assert keeper.wait == 60.0  # the next look, not before
    assert upkeep(tmp_path, NOON + 2 * 3600 + 601).wait is not None
    assert len(names(tmp_path)) == 2


def test_many_row_groups_are_merged_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "GROUP_ROWS", 7)
    monkeypatch.setattr(merge, "BATCH_ROWS", 3)
    recorder = Recorder(tmp_path)
    moments = [[NOON + random.randrange(3000) for _ in range(20)] for _ in range(4)]
    for number, group in enumerate(moments):
        for place, moment in enumerate(group):
            recorder.write([predicted(moment, number * 100 + place)])
        recorder.roll()
    compact(tmp_path)
    before = ids_of(tmp_path)
    upkeep(tmp_path, NOON + DAY)
    (file,) = tmp_path.glob("predictions/*/*.parquet")
    assert pq.ParquetFile(file).num_row_groups > 5
    rows = pq.read_table(file, columns=["time"], partitioning=None)["time"].to_pylist()
    assert rows == sorted(rows)
    assert ids_of(tmp_path) == before


@pytest.mark.parametrize("stage", ["replace", "unlink", "utime"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_merge_that_crashes_anywhere_changes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, when: str, count: int
) -> None:
    ids = fill(tmp_path, [NOON, NOON + 60, NOON + 120])
    system_call = getattr(os, stage)
    calls = 0

    def crash(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == count and when == "before":
            raise Crash
        system_call(*arguments, **options)
        if calls == count:
            raise Crash

    with monkeypatch.context() as machine:
        machine.setattr(os, stage, crash)
        machine.setattr(merge, "recover", lambda folder: True)
        try:
            upkeep(tmp_path, NOON + DAY)
        except Crash:
            pass
    assert ids_of(tmp_path) == sorted(ids)
    upkeep(tmp_path, NOON + DAY)
    assert ids_of(tmp_path) == sorted(ids)
    assert len(names(tmp_path)) == 1
    assert list(tmp_path.glob("merges/*")) == []


def test_files_stay_while_somebody_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "PATIENCE", 0.0)
    ids = fill(tmp_path, [NOON, NOON + 60])
    connection = connect(tmp_path)
    before = names(tmp_path)
    assert upkeep(tmp_path, NOON + DAY).wait == 300.0
    assert names(tmp_path) == before
    assert query(connection, "SELECT count(*) AS n FROM predictions").to_pylist() == [{"n": len(ids)}]
    del connection
    gc.collect()
    upkeep(tmp_path, NOON + DAY)
    assert len(names(tmp_path)) == 1


def test_a_reader_waits_for_the_exchange_and_sees_it_whole(tmp_path: Path) -> None:
    ids = fill(tmp_path, [NOON, NOON + 60])
    found: list[list[str]] = []
    with alone(tmp_path, 0.0) as undisturbed:
        assert undisturbed
        reader = threading.Thread(target=lambda: found.append(ids_of(tmp_path)))
        reader.start()
        assert found == []
    reader.join()
    assert found == [sorted(ids)]


def test_a_folder_that_cannot_be_written_to_is_read_without_a_lock(tmp_path: Path) -> None:
    assert hold(tmp_path / "not there") is None


def test_a_segment_that_is_still_there_keeps_its_file_out_of_a_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(tmp_path, [NOON, NOON + 60])
    recorder = Recorder(tmp_path)
    recorder.write([predicted(NOON + 70, 7)])
    recorder.roll()
    with monkeypatch.context() as machine, pytest.raises(Crash):

        def crash(*arguments: Any, **options: Any) -> None:
            raise Crash

        machine.setattr(os, "unlink", crash)
        compact(tmp_path)
    upkeep(tmp_path, NOON + DAY)
    assert ids_of(tmp_path) == sorted([*ids, id_at(NOON + 70, 7)])
    compact(tmp_path)
    assert ids_of(tmp_path) == sorted([*ids, id_at(NOON + 70, 7)])


def test_readers_of_all_kinds_see_every_row_once_while_files_are_merged(tmp_path: Path) -> None:
    times = [NOON + number * 11 for number in range(15)]
    ids = sorted(fill(tmp_path, times))
    faults: list[int] = []
    finished = threading.Event()

    def look() -> None:
        while not finished.is_set():
            found = ids_of(tmp_path)
            if found != ids:
                faults.append(len(found))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(1, 3):
        upkeep(tmp_path, NOON + round_ * DAY)
        fill_again(tmp_path, ids, NOON + 1000 + round_)
    finished.set()
    for reader in readers:
        reader.join()
    assert faults == []


def fill_again(folder: Path, ids: list[str], moment: float) -> None:
    """Feedback comes meanwhile, and is merged too."""
    recorder = feedback_recorder(folder)
    for number in range(3):
        recorder.write([truth_of(ids[number], b"1", moment + number)])
        recorder.roll()
    compact(folder)


def test_nothing_is_deleted_unless_a_limit_is_set(tmp_path: Path) -> None:
    ids = fill(tmp_path, [TIME, TIME + 9 * DAY])
    upkeep(tmp_path, TIME + 9999 * DAY)
    assert ids_of(tmp_path) == sorted(ids)
    assert retention_words(tmp_path) == "predictions are kept without a limit"


def age(folder: Path) -> None:
    """Files were written when their rows were."""
    for kind in ("predictions", "feedback"):
        for path in parquet_files(folder, kind):
            moment = file_time(path)
            os.utime(path, (moment, moment))


def test_what_is_too_old_is_deleted_with_its_ids_and_told(tmp_path: Path) -> None:
    ids = fill(tmp_path, [NOON, NOON + 5 * DAY])
    fill_again(tmp_path, ids, NOON)
    age(tmp_path)
    set_keep(tmp_path, Keep(days=3))
    keeper = upkeep(tmp_path, NOON + 4 * DAY)
    assert ids_of(tmp_path) == sorted(ids[2:])
    assert not (tmp_path / "predictions" / "dt=2026-11-18").exists()
    assert len(list(tmp_path.glob("ids/*/*/*.ids"))) == len(list(tmp_path.glob("[pf]*/*/*.parquet")))
    deleted = read_deleted(tmp_path)
    assert {kind: (facts.rows, facts.files) for kind, facts in deleted.items()} == {
        "predictions": (2, 1),
        "feedback": (3, 3),
    }
    assert retention_words(tmp_path) == (
        "predictions are kept for 3 days; 2 rows up to 2026-11-18T12:00:00Z were deleted"
    )
    assert keeper.wait == DAY  # at most a day; the other file is due in four


def test_the_oldest_goes_first_when_there_is_too_much(tmp_path: Path) -> None:
    ids = fill(tmp_path, [NOON, NOON + DAY, NOON + 2 * DAY])
    age(tmp_path)
    newest = parquet_files(tmp_path, "predictions")[-1].stat().st_size
    set_keep(tmp_path, Keep(bytes=newest + 100))
    upkeep(tmp_path, NOON + 2 * DAY)
    assert ids_of(tmp_path) == sorted(ids[4:])
    assert "while the record is below" in retention_words(tmp_path)


def test_files_that_somebody_has_still_to_read_are_spared(tmp_path: Path) -> None:
    fill(tmp_path, [NOON, NOON + 60])
    set_keep(tmp_path, Keep(days=1))
    age(tmp_path)
    before = names(tmp_path)
    keeper = Upkeep(tmp_path, spared=lambda path: True, clock=lambda: NOON + 9 * DAY)
    assert list(keeper.steps())
    assert names(tmp_path) == before


def test_an_unfinished_file_of_a_killed_compactor_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, [NOON])
    (path,) = parquet_files(tmp_path, "predictions")
    leftovers = [path.with_name(f".{path.name}.tmp"), ids_path(path).with_name(f".{ids_path(path).name}.tmp")]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    upkeep(tmp_path, NOON)
    assert [leftover.exists() for leftover in leftovers] == [False, False]
