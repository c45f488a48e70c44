"""Stores of jobs: what is written is found, by any process, and a dead process leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic_core import from_json

from hansang.errors import JobsError, UsageError
from hansang.jobs.document import job_of
from hansang.jobs.sqlite import SqliteStore
from hansang.jobs.store import JobRow, JobStore, MemoryStore
from hansang.testing import Clock, on_loop

Make = Callable[[Path, Clock], JobStore]

both = pytest.mark.parametrize("make", [lambda path, clock: MemoryStore(clock), SqliteStore], ids=["memory", "sqlite"])


@both
@on_loop
async def test_rows_are_found_under_their_id_in_their_order(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path / "jobs.sqlite", Clock()) as store:
        await store.put(
            [JobRow("a", 2, "queued", 2000.0), JobRow("a", 0, "done", 2000.0, b"1.5"), JobRow("b", 0, "queued", 2000.0)]
        )
        await store.put([JobRow("a", 2, "failed", 2001.0, b"{}")])
        assert await store.get("a") == [JobRow("a", 0, "done", 2000.0, b"1.5"), JobRow("a", 2, "failed", 2001.0, b"{}")]
        assert await store.get("c") == []
        assert await store.get("a' OR 1=1 --") == []


@both
@on_loop
async def test_rows_that_have_expired_are_removed(make: Make, tmp_path: Path) -> None:
    clock = Clock()
    async with make(tmp_path / "jobs.sqlite", clock) as store:
        await store.put([JobRow("old", 0, "done", clock.now + 10, b"1")])
        clock.advance(11)
        assert job_of("old", await store.get("old"), clock.now)["state"] == "expired"
        clock.advance(60)
        await store.put([JobRow("new", 0, "done", clock.now + 10, b"1")])
        assert await store.get("old") == []
        assert await store.get("new")


@on_loop
async def test_another_process_answers_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "jobs.sqlite"
    async with SqliteStore(path) as one, SqliteStore(path) as other:
        await one.put([JobRow("a", 0, "running", 9e9)])
        assert [row.state for row in await other.get("a")] == ["running"], "its process lives"
        await one.put([JobRow("b", 0, "done", 9e9, b'{"y":1}')])
        assert [row.result for row in await other.get("b")] == [b'{"y":1}']
    async with SqliteStore(path) as again:
        assert [row.result for row in await again.get("b")] == [b'{"y":1}']
        (lost,) = await again.get("a")
        assert (lost.state, from_json(lost.result)["status"]) == ("failed", 503)
    assert list((tmp_path / "deep" / "jobs.sqlite.owners").iterdir()) == []


WORKER = """
import asyncio, sys
from hansang.jobs.sqlite import SqliteStore
from hansang.jobs.store import JobRow

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        for n in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
            await store.put([JobRow(f"{n}", 0, "queued", 9e9)])
            await store.put([JobRow(f"{n}", 0, "done", 9e9, b"1")])
        left = ["queued", "running"]
        await store.put([JobRow("open-" + sys.argv[2], row, state, 9e9) for row, state in enumerate(left)])
        print("written", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


def test_rows_of_a_process_that_was_killed_have_failed_and_are_not_running_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    command = [sys.executable, "-c", WORKER, str(path)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen([*command, str(n)], stdin=pipe, stdout=pipe, text=True) for n in (0, 100, 200)]

    async def look() -> None:
        async with SqliteStore(path) as store:
            for n in (*range(50), *range(100, 150), *range(200, 250)):
                assert [row.state for row in await store.get(str(n))] == ["done"]
            assert [row.state for row in await store.get("open-0")] == ["queued", "running"]
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].wait()
            lost = await store.get("open-0")
            assert [row.state for row in lost] == ["failed", "failed"], "whoever looks first finds it out"
            assert "ended before it had an answer" in from_json(lost[0].result)["detail"]
            assert [row.state for row in await store.get("open-100")] == ["queued", "running"], "the others live"

    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "written\n", "they open the file at the same moment"
        asyncio.run(look())
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@on_loop
async def test_a_store_that_is_entered_twice_is_open_until_both_have_left(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.sqlite")
    with pytest.raises(JobsError, match="is not open; enter it"):
        await store.get("a")
    async with store:
        async with store:
            await store.put([JobRow("a", 0, "queued", 9e9)])
        assert await store.get("a")
    async with store:
        assert [row.state for row in await store.get("a")] == ["failed"]


@on_loop
async def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and long enough to be seen as none" * 20)
    (tmp_path / "folder").mkdir()
    for name, text in (
        ("text", "file is not a database"),
        ("folder", "unable to open"),
        ("text/jobs", "cannot be opened"),
    ):
        with pytest.raises(UsageError, match=text):
            await SqliteStore(tmp_path / name).__aenter__()
    with sqlite3.connect(tmp_path / "newer") as file:
        file.execute("PRAGMA user_version = 7")
    file.close()
    with pytest.raises(UsageError, match="is of version 7; this Hansang reads version 1"):
        await SqliteStore(tmp_path / "newer").__aenter__()


@on_loop
async def test_a_write_that_fails_changes_nothing_and_says_so(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "jobs.sqlite") as store:
        await store.put([JobRow("a", 0, "queued", 9e9)])
        with pytest.raises(JobsError, match="cannot be written"):
            await store.put([JobRow("a", 0, "running", 9e9), JobRow(None, 0, "running", 9e9)])  # type: ignore[arg-type]  # no id
        assert [row.state for row in await store.get("a")] == ["queued"]


def test_the_state_of_a_job_follows_from_its_rows() -> None:
    def state(*rows: JobRow) -> str:
        return str(job_of("a", rows, 100.0)["state"])

    queued, running = JobRow("a", 0, "queued", 200.0), JobRow("a", 1, "running", 200.0)
    done, failed = JobRow("a", 2, "done", 200.0, b"1"), JobRow("a", 3, "failed", 200.0, b"{}")
    expired = JobRow("a", 4, "done", 50.0, b"1")
    assert state(queued, queued) == "queued"
    assert state(queued, running) == state(queued, done) == state(running, failed) == "running"
    assert state(done, done) == state(done, failed) == state(done, expired) == "done"
    assert state(failed, failed) == "failed"
    assert state(expired) == "expired"
    assert "output" not in job_of("a", [expired], 100.0)["rows"][0]


def test_stores_of_one_path_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    async def main() -> int:
        async with SqliteStore(tmp_path / "jobs.sqlite") as store:
            locked = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
            locked.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.put([JobRow("a", 0, "queued", 9e9)]))
            came_round = 0
            for _ in range(100):
                await asyncio.sleep(0)
                came_round += not writing.done()
            locked.execute("COMMIT")
            locked.close()
            await writing
            assert await store.get("a")
            return came_round

    assert asyncio.run(main()) == 100
