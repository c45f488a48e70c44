"""A run that is killed goes on where it was, and its output is there whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hansang.errors import UsageError
from hansang.scoring import score
from hansang.service import Service
from tests.scoring.conftest import DEMAND, HANSANG, Command, hours, plain_environment, read, write


def start(folder: Path, *arguments: object, seconds: float) -> subprocess.Popen[bytes]:
    env = plain_environment() | {"DEMAND_SECONDS": str(seconds)}
    words = [str(HANSANG), "score", str(DEMAND), *map(str, arguments)]
    return subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(folder: Path) -> int:
    return len(list(folder.glob("*.arrow")))


def kill_after(process: subprocess.Popen[bytes], folder: Path, parts: int, delay: float) -> None:
    """Kill a run a moment after it has finished some parts."""
    until = time.monotonic() + 30
    while finished(folder) < parts and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_killed_at_any_moment_goes_on_where_it_was(
    service: Service, command: Command, tmp_path: Path, processes: int
) -> None:
    source = write(tmp_path / "in.csv", hours(2000))
    score(service, [source], "whole.parquet", chunk=100)
    chance = random.Random(processes)
    arguments = (source, "-o", "out.parquet", "--chunk", 100, "--processes", processes)
    folder, done = tmp_path / "out.parquet.parts", 0
    for _ in range(2):
        process = start(tmp_path, *arguments, seconds=0.1)
        kill_after(process, folder, done + chance.randint(1, 3), chance.uniform(0, 0.05))
        assert not (tmp_path / "out.parquet").exists()
        assert finished(folder) >= done
        done = finished(folder)
    assert 0 < done < 20
    summary = json.loads(command(DEMAND, *arguments, "--json").stdout)
    assert summary["rows"] == summary["predicted"] == 2000
    assert summary["resumed"] >= 100 * done
    assert read(tmp_path / "out.parquet") == read(tmp_path / "whole.parquet")
    assert not folder.exists()


def leave_parts(service: Service, tmp_path: Path, source: Path) -> Path:
    """Leave the parts of a run that was stopped before its output was in place."""

    def stop(rows: int, share: float) -> None:
        if share > 0.4:
            raise KeyError("stopped")

    with pytest.raises(KeyError):
        score(service, [source], "out.parquet", chunk=100, report=stop)
    folder = tmp_path / "out.parquet.parts"
    assert 0 < finished(folder) < 10
    return folder


def test_parts_of_another_run_are_not_taken(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", hours(1000))
    folder = leave_parts(service, tmp_path, source)
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match="the input files changed; give --restart to begin again"):
        score(service, [source], "out.parquet", chunk=100)
    with pytest.raises(UsageError, match="the target, the options|the input files, the target, the options"):
        score(service, [source], "out.parquet", chunk=50, endpoint="/columns")
    assert finished(folder)
    summary = score(service, [source], "out.parquet", chunk=100, restart=True)
    assert (summary.rows, summary.resumed) == (1000, 0)


def test_only_what_is_missing_is_scored_again(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", [*hours(900), *({**row, "hour": 24} for row in hours(100))])
    folder = leave_parts(service, tmp_path, source)
    (folder / "000000007.arrow.123.tmp").write_bytes(b"half a part")
    done = finished(folder)
    shares: list[float] = []
    summary = score(service, [source], "out.parquet", chunk=100, report=lambda rows, share: shares.append(share))
    assert summary.resumed == 100 * done
    assert (summary.rows, summary.failed) == (1000, 100)
    assert shares[-1] == pytest.approx(1.0)
    assert [row["row"] for row in read(tmp_path / "out.parquet")] == list(range(1000))


def test_errors_of_finished_parts_are_counted(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", [{**row, "hour": 24} for row in hours(1000)])
    leave_parts(service, tmp_path, source)
    assert score(service, [source], "out.parquet", chunk=100).failed == 1000


def test_two_runs_do_not_write_one_output(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", hours(2000))
    process = start(tmp_path, source, "-o", "out.parquet", "--chunk", 100, "--processes", 1, seconds=0.5)
    folder = tmp_path / "out.parquet.parts"
    try:
        while not finished(folder) and process.poll() is None:
            time.sleep(0.005)
        with pytest.raises(UsageError, match="another run is writing out.parquet"):
            score(service, [source], "out.parquet", chunk=100, target=str(DEMAND))
    finally:
        kill_after(process, folder, 0, 0)


def test_the_old_output_stays_until_the_new_one_is_whole(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", hours(1000))
    (tmp_path / "out.parquet").write_bytes(b"old")
    leave_parts(service, tmp_path, source)
    assert (tmp_path / "out.parquet").read_bytes() == b"old"
    score(service, [source], "out.parquet", chunk=100)
    assert len(read(tmp_path / "out.parquet")) == 1000
