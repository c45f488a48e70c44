"""The compactor: finished segments become Parquet, once, whatever is killed when."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pyarrow.parquet as pq
import pytest

from hansang.errors import RecordError
from hansang.record import Limits, Recorder
from hansang.record.compact import NICE, Compactor, main
from hansang.record.parquet import convert
from hansang.record.record import let_go, listens, nudge, start_compactor
from hansang.record.segment import HEADER
from tests.record.making import TIME, MakeRows, ReadRows


class Crash(BaseException):
    """The process dies here."""


def closed_segment(folder: Path, make_rows: MakeRows, first: int = 0) -> Path:
    recorder = Recorder(folder)
    recorder.write([make_rows(first + 5, 5, TIME + 1)])
    recorder.write([make_rows(first, 5, TIME)])
    recorder.roll()
    return max((folder / "spool").glob("*.closed"), key=lambda path: path.stat().st_mtime_ns)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("predictions/**/*") if path.is_file())


def test_a_segment_becomes_one_sorted_file_under_its_hour(tmp_path: Path, make_rows: MakeRows) -> None:
    segment = closed_segment(tmp_path, make_rows)
    convert(segment, tmp_path)
    (file,) = files(tmp_path)
    assert file == tmp_path / "predictions" / "dt=2026-11-18" / f"{segment.stem}.parquet"
    assert not segment.exists()
    table = pq.read_table(file, partitioning=None)
    assert table["output_value"].to_pylist() == [n + 0.5 for n in range(10)]
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("stage", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_compaction_redone_after_a_crash_gives_the_same_rows(
    tmp_path: Path,
    make_rows: MakeRows,
    read_rows: ReadRows,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    when: str,
) -> None:
    segment = closed_segment(tmp_path, make_rows)
    rows = read_rows(tmp_path)
    system_call = getattr(os, stage)

    def crash(*arguments: object) -> None:
        if when == "after":
            system_call(*arguments)
        raise Crash

    with monkeypatch.context() as machine, pytest.raises(Crash):
        machine.setattr(os, stage, crash)
        convert(segment, tmp_path)
    assert read_rows(tmp_path) == rows
    with open(os.devnull) as nothing:
        finished = subprocess.run(
            [sys.executable, "-m", "hansang.record.compact", str(tmp_path)], stdin=nothing, check=True
        )
    assert finished.returncode == 0
    assert read_rows(tmp_path) == rows
    assert [path.suffix for path in files(tmp_path)] == [".parquet"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_damaged_segment_is_kept_and_its_rows_are_counted(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, caplog: pytest.LogCaptureFixture
) -> None:
    segment = closed_segment(tmp_path, make_rows)
    data = bytearray(segment.read_bytes())
    data[HEADER.size + 40] ^= 1
    segment.write_bytes(data)
    compactor = Compactor(tmp_path)
    compactor.work()
    assert len(read_rows(tmp_path)) == 5
    assert Recorder(tmp_path).stats().corrupt == 5
    assert [path.name for path in (tmp_path / "corrupt").iterdir()] == [f"{segment.stem}.5.corrupt"]
    assert caplog.messages == [
        f"segment {segment.name} is damaged: at least 5 rows are lost; it is kept under corrupt/"
    ]


def test_a_segment_that_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, make_rows: MakeRows, caplog: pytest.LogCaptureFixture
) -> None:
    later = closed_segment(tmp_path, make_rows)
    head = bytearray(later.read_bytes())
    head[8] = 9
    head[HEADER.size - 4 : HEADER.size] = crc32(head[: HEADER.size - 4]).to_bytes(4, "little")
    later.write_bytes(head)
    closed_segment(tmp_path, make_rows, 10)
    compactor = Compactor(tmp_path)
    compactor.work()
    compactor.work()
    assert list((tmp_path / "spool").iterdir()) == [later]
    assert len(files(tmp_path)) == 1
    assert compactor.retry == 2.0
    assert caplog.text.count("waits: RecordError: ") == 1
    later.unlink()
    compactor.work()
    assert compactor.retry is None


def test_a_full_disk_keeps_the_segment(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = closed_segment(tmp_path, make_rows)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space"):
        disk.setattr(os, "fsync", full)
        convert(segment, tmp_path)
    assert segment.exists()
    assert files(tmp_path) == []
    assert len(read_rows(tmp_path)) == 10


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  # another process makes it true
        await asyncio.sleep(0.005)


def compactors(folder: Path) -> list[int]:
    """The processes that were started for this record and have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hansang.record.compact" in words and os.fsencode(folder) in words:
            found.append(int(process.parent.name))
    return found


def test_an_idle_segment_is_closed_and_compacted_and_leaving_leaves_only_parquet(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows
) -> None:
    async def serve() -> None:
        async with Recorder(tmp_path, Limits(seconds=0.05)) as recorder:
            recorder.write([make_rows(0, 3)])
            await until(lambda: bool(files(tmp_path)) and not recorder.stats().spool_segments)
            recorder.write([make_rows(3, 3)])
        assert recorder.stats().spool_segments == 0

    asyncio.run(serve())
    assert len(read_rows(tmp_path)) == 6
    assert compactors(tmp_path) == []


def test_one_compactor_serves_all_recorders_of_a_folder_and_its_end_is_made_good(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows
) -> None:
    async def serve() -> None:
        async with Recorder(tmp_path) as first, Recorder(tmp_path) as second:
            for number, recorder in enumerate((first, second)):
                recorder.write([make_rows(number, 1)])
                recorder.roll()
            await until(lambda: len(files(tmp_path)) == 2)
            await until(lambda: len(compactors(tmp_path)) == 1)
            (process,) = compactors(tmp_path)
            os.kill(process, signal.SIGKILL)
            await until(lambda: not nudge(tmp_path))
            second.write([make_rows(2, 1)])
            second.roll()
            await until(lambda: len(files(tmp_path)) == 3)

    asyncio.run(serve())
    assert len(read_rows(tmp_path)) == 3


def test_the_compactor_makes_way_for_the_server_and_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    async def serve() -> None:
        async with Recorder(tmp_path):
            await until((tmp_path / "wake").exists)
            (process,) = compactors(tmp_path)
            assert os.sched_getscheduler(process) == os.SCHED_BATCH
            assert os.getpriority(os.PRIO_PROCESS, process) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICE, 19)
            assert os.getpgid(process) == process
            assert os.getsid(process) == os.getsid(0), "the kernel may weigh sessions, not processes"

    asyncio.run(serve())


def test_an_idle_compactor_uses_no_cpu(tmp_path: Path) -> None:
    def wakes(process: int) -> list[str]:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        return [line for line in status if "ctxt_switches" in line or line.startswith("State:")]

    async def serve() -> None:
        async with Recorder(tmp_path):
            await until((tmp_path / "wake").exists)
            (process,) = compactors(tmp_path)
            before: list[str] = []
            while before != (now := wakes(process)) or "State:\tR (running)" in now:  # until it has come to rest
                before = now
                await asyncio.sleep(0.2)
            select.select([], [], [], 0.5)  # the time measured
            assert wakes(process) == before

    asyncio.run(serve())


def test_a_record_whose_compactor_cannot_start_says_so_and_goes_on(
    tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))

    async def serve() -> Recorder:
        async with Recorder(tmp_path) as recorder:
            recorder.write([make_rows(0, 1)])
        return recorder

    recorder = asyncio.run(serve())
    assert "the compactor cannot be started: No such file or directory" in recorder.failing
    assert len(read_rows(tmp_path)) == 1


def test_the_command_line_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m hansang.record.compact DIR" in capsys.readouterr().err


def test_a_record_that_was_removed_is_made_anew(tmp_path: Path, make_rows: MakeRows, read_rows: ReadRows) -> None:
    folder = tmp_path / "records"
    closed_segment(folder, make_rows)
    shutil.rmtree(folder)
    with pytest.raises(RecordError, match="no record in"):
        read_rows(folder)
    closed_segment(folder, make_rows)
    assert len(read_rows(folder)) == 10


def wait_until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_compactor_that_is_ending_listens_no_more(tmp_path: Path, make_rows: MakeRows) -> None:
    recorder = Recorder(tmp_path)
    recorder.write([make_rows(0, 5, TIME)])  # the segment is held: the compactor waits for its owner, this process
    compactor = start_compactor(tmp_path)
    try:
        wait_until(lambda: listens(tmp_path))
        let_go(compactor)
        wait_until(lambda: not listens(tmp_path))
        assert compactor.poll() is None
        assert not nudge(tmp_path)
        recorder.roll()
        assert compactor.wait(20) == 0
    finally:
        compactor.kill()
        compactor.wait()
    assert len(files(tmp_path)) == 1


def test_a_recorder_whose_segments_nobody_takes_starts_a_compactor(tmp_path: Path, make_rows: MakeRows) -> None:
    async def main() -> None:
        async with Recorder(tmp_path) as recorder:
            await asyncio.to_thread(wait_until, lambda: listens(tmp_path))
            assert recorder._compactor is not None
            recorder._compactor.kill()  # as one of another server that has ended
            recorder._compactor.wait()
            closed_segment(tmp_path, make_rows)
            recorder.stats()
            await asyncio.to_thread(wait_until, lambda: files(tmp_path))

    asyncio.run(main())
