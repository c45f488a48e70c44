"""Several processes write one file, which is set aside by size and by time: no line is lost, torn or doubled."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hansang.logs.rotating import RotatingFile

WRITER = """
import logging, sys
from hansang.logs.rotating import RotatingFile
handler = RotatingFile(sys.argv[1], max_bytes=int(sys.argv[3]), every="never", keep=1000)
logger = logging.getLogger("w")
logger.propagate = False
logger.addHandler(handler)
print("ready", flush=True)
sys.stdin.read()
for number in range(2000):
    logger.error("%s-%d %s", sys.argv[2], number, "x" * (number % 50))
"""


def say(handler: RotatingFile, text: str) -> None:
    handler.emit(logging.makeLogRecord({"msg": text, "levelno": logging.INFO}))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)


def test_four_processes_lose_no_line_while_the_file_is_set_aside_under_them(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "h.log"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), "20000"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    found = files(path.parent)
    lines = [line for file in found for line in file.read_text().splitlines()]
    assert len(found) > 5
    assert sorted(line.split()[0] for line in lines) == sorted(f"{w}-{n}" for w in range(4) for n in range(2000))
    assert all(len(line.split()[1]) == int(line.split()[0].split("-")[1]) % 50 for line in lines if line[-1] == "x")
    assert max(file.stat().st_size for file in found) < 25_000


def test_a_file_of_yesterday_is_set_aside_with_the_first_line_of_today(tmp_path: Path) -> None:
    path = tmp_path / "h.log"
    path.write_text("yesterday\n")
    day_ago = time.time() - 86400
    os.utime(path, (day_ago, day_ago))
    handler = RotatingFile(path, every="day")
    say(handler, "today")
    say(handler, "still today")
    handler.close()
    assert path.read_text() == "today\nstill today\n"
    (aside,) = set(files(tmp_path)) - {path}
    assert aside.read_text() == "yesterday\n"
    assert aside.name.startswith("h-20")


def test_the_oldest_files_are_deleted_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "h-mine.log").write_text("not one that was set aside")
    handler = RotatingFile(tmp_path / "h.log", max_bytes=10, every="never", keep=3)
    for number in range(9):
        say(handler, f"line {number}")
    handler.close()
    kept = [path.read_text() for path in files(tmp_path) if path.name != "h-mine.log"]
    assert kept == ["line 5\n", "line 6\n", "line 7\n", "line 8\n"]
    assert (tmp_path / "h-mine.log").exists()


def test_a_file_that_something_else_moved_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "h.log"
    handler = RotatingFile(path)
    say(handler, "one")
    path.rename(tmp_path / "moved")
    say(handler, "two")
    handler.close()
    assert ((tmp_path / "moved").read_text(), path.read_text()) == ("one\n", "two\n")


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "blocked").write_text("")
    handler = RotatingFile(tmp_path / "blocked" / "h.log")
    for _ in range(3):
        say(handler, "lost")
    assert capfd.readouterr().err.splitlines() == [f"log lines are lost: {tmp_path}/blocked/h.log: Not a directory"]


@pytest.mark.parametrize("options", [{"max_bytes": -1}, {"keep": "3"}, {"every": "week"}, {"keep": True}])
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RotatingFile(tmp_path / "h.log", **options)
