"""The recorder: when segments roll, what a full disk does, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hansang.errors import RecordError
from hansang.record import Limits, Recorder
from tests.record.making import ROOT, TIME, MakeRows, ReadRows, writer_command


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def suffixes(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "spool").iterdir())


def test_a_written_row_is_in_the_view_at_once(tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 2, keys=["ann", None]), make_rows(2, 1, statuses=[422], errors=["no"])])
    rows = read_rows(tmp_path)
    assert [(row["output_value"], row["key"], row["status"], row["error"]) for row in rows] == [
        (0.5, "ann", 200, None),
        (1.5, None, 200, None),
        (None, None, 422, "no"),
    ]
    assert (rows[0]["latency_ms"], rows[0]["queue_ms"], rows[0]["batch_rows"]) == (1.0, 0.5, 2)
    assert rows[0]["time"].isoformat() == "2026-11-18T11:06:40.250000"


def test_nothing_is_made_before_the_first_row(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "records")
    recorder.write([])
    recorder.tick()
    recorder.roll()
    assert recorder.stats().oldest is None
    assert not (tmp_path / "records").exists()


def test_a_segment_closes_at_its_rows_its_bytes_and_its_age(tmp_path: Path, make_rows: MakeRows) -> None:
    clock = Clock()
    for name, limits in (("rows", Limits(rows=4)), ("bytes", Limits(bytes=300)), ("age", Limits(seconds=5))):
        recorder = Recorder(tmp_path / name, limits, clock=clock)
        recorder.write([make_rows(0, 4)])
        clock.now += 5
        recorder.write([make_rows(4, 1)])
        assert suffixes(tmp_path / name) == [".closed", ".open"], name


def test_a_segment_never_crosses_an_hour(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 1, TIME)])
    recorder.write([make_rows(1, 1, TIME + 3600)])
    assert [path.name[:11] for path in sorted((tmp_path / "spool").iterdir())] == ["20261118T11", "20261118T12"]


def test_a_tick_closes_a_segment_that_nobody_writes_to(tmp_path: Path, make_rows: MakeRows) -> None:
    clock = Clock()
    recorder = Recorder(tmp_path, clock=clock)
    recorder.write([make_rows(0, 1)])
    recorder.tick()
    assert suffixes(tmp_path) == [".open"]
    clock.now = 60
    recorder.tick()
    assert suffixes(tmp_path) == [".closed"]


def test_stats_tell_rows_bytes_and_what_waits_in_the_spool(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 3)])
    recorder.roll()
    recorder.write([make_rows(3, 3)])
    stats = recorder.stats()
    assert (stats.rows, stats.lost, stats.spool_segments, stats.failing) == (6, {}, 2, "")
    assert stats.oldest == int(TIME)
    assert 0 < stats.bytes < stats.spool_bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; where mounting is not permitted the test is skipped, its injected twin still runs."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "t", place], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_counted_rows_and_nothing_else(
    small_disk: Path, make_rows: MakeRows, read_rows: ReadRows
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    recorder = Recorder(small_disk)
    kept = [first for first in range(0, 1000, 10) if written(recorder, make_rows, first)]
    assert recorder.failing == "No space left on device"
    lost = recorder.stats().lost["disk full"]
    assert lost > 0
    assert len(kept) * 10 + lost == 1000
    ballast.unlink()
    assert written(recorder, make_rows, 1000)
    assert recorder.stats().failing == ""
    recorder.roll()
    ids = [row["id"] for row in read_rows(small_disk, "id")]
    assert ids == [f"0198a000-0000-7000-8000-{n:012d}" for first in [*kept, 1000] for n in range(first, first + 10)]


def written(recorder: Recorder, make_rows: MakeRows, first: int) -> bool:
    before = recorder.rows_written
    recorder.write([make_rows(first, 10)])
    return recorder.rows_written > before


def test_a_full_disk_stops_the_answers_when_so_set(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, on_full="stop")
    recorder.write([make_rows(0, 1)])
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full_after(10))
        with pytest.raises(RecordError, match="the record cannot be written: No space left on device"):
            recorder.write([make_rows(1, 1)])
    recorder.write([make_rows(2, 1)])
    assert recorder.stats().lost == {}
    assert [row["output_value"] for row in read_rows(tmp_path)] == [0.5, 2.5]


def test_a_disk_that_is_full_from_the_start_is_counted_too(
    tmp_path: Path, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full_after(0))
        recorder.write([make_rows(0, 3)])
    assert recorder.lost == {"disk full": 3}
    assert suffixes(tmp_path) == []


def full_after(size: int) -> Callable[[int, bytes], int]:
    """A disk with room for so many bytes: the write before the last one is short."""
    system_write = os.write
    room = [size]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = system_write(descriptor, data[: room[0]])
        room[0] -= done
        return done

    return write


def test_short_writes_are_gone_on_with(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_write = os.write
    recorder = Recorder(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda descriptor, data: system_write(descriptor, data[:7]))
        recorder.write([make_rows(0, 5)])
    assert len(read_rows(tmp_path)) == 5


def test_a_failing_disk_is_counted_and_the_next_segment_tried(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, data: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 1)])
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", broken)
        recorder.write([make_rows(1, 2)])
    recorder.write([make_rows(3, 1)])
    assert recorder.lost == {"write error": 2}
    assert [row["output_value"] for row in read_rows(tmp_path)] == [0.5, 3.5]


def test_rows_of_a_segment_that_somebody_removed_are_counted(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 4)])
    shutil.rmtree(tmp_path / "spool")
    recorder.roll()
    recorder.write([make_rows(4, 1)])
    assert recorder.stats().lost == {"segment removed": 4}
    assert suffixes(tmp_path) == [".open"]


def test_sync_durability_syncs_every_write(
    tmp_path: Path, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    recorder = Recorder(tmp_path, durability="sync")
    recorder.write([make_rows(0, 1)])
    before = len(synced)
    recorder.write([make_rows(1, 1)])
    assert len(synced) == before + 1
    recorder.roll()
    assert suffixes(tmp_path) == [".closed"]


def test_the_writing_side_imports_neither_duckdb_nor_pyarrow() -> None:
    code = "import hansang.record.record, sys; sys.exit(bool({'duckdb', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_row_whose_write_returned_is_missing_after_kill_9_and_none_is_there_twice(
    tmp_path: Path, read_rows: ReadRows, wait_for_compactor: Callable[[Path], None]
) -> None:
    acknowledged: list[int] = []
    for round_ in range(10):
        first = round_ * 300_000
        command = writer_command(tmp_path, first, 300_000, 400)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(random.randint(1, 1500)):
                last = int(writer.stdout.readline())
            writer.kill()
            last = max([last, *(int(line) for line in writer.stdout.read().split(b"\n")[:-1])])
        acknowledged += range(first, last + 1)
        check(read_rows(tmp_path, "id"), acknowledged)
    for _ in range(3):  # a compactor that is ending just now leaves what it has not seen to the next start
        asyncio.run(next_start(tmp_path))
        wait_for_compactor(tmp_path)
        check(read_rows(tmp_path, "id"), acknowledged)
        if set(suffixes(tmp_path)) <= {".new"}:
            break
    assert set(suffixes(tmp_path)) <= {".new"}  # killed before the first row; removed when it is a minute old


async def next_start(folder: Path) -> None:
    async with Recorder(folder):
        pass


def check(rows: list[dict[str, str]], acknowledged: list[int]) -> None:
    ids = [int(row["id"][-12:]) for row in rows]
    assert len(ids) == len(set(ids))
    assert not set(acknowledged) - set(ids)


def test_a_restart_picks_up_what_a_killed_writer_left(tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows) -> None:
    abandoned = Recorder(tmp_path)
    abandoned.write([make_rows(0, 5)])
    segment = abandoned._segment
    assert segment is not None
    os.write(segment.descriptor, b"torn")
    os.close(segment.descriptor)  # as the system does when a process dies

    async def serve() -> None:
        async with Recorder(tmp_path) as recorder:
            recorder.write([make_rows(5, 5)])

    asyncio.run(serve())
    assert suffixes(tmp_path) == []
    assert len(read_rows(tmp_path)) == 10
