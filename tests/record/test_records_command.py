"""`hansang records`, as a person and as a program call it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hansang.cli.records import app, show_table
from hansang.record import Recorder
from hansang.record.compact import Compactor
from tests.record.making import SHARED, TIME, MakeRows

ID = "0198a000-0000-7000-8000-{:012d}"


@pytest.fixture
def folder(tmp_path: Path, make_rows: MakeRows) -> Path:
    """A record of 30 rows, one of them failed, three of them of one request."""
    recorder = Recorder(tmp_path)
    for first in range(0, 27):
        recorder.write([make_rows(first, 1, TIME + first)])
    many = make_rows(27, 3, TIME + 30, numbers=[0, 1, 2], request_ids=["mine"] * 3, tags=[{"shop": 7}, None, None])
    many.ids = [ID.format(27)] * 3
    many.statuses, many.errors, many.outputs = [200, 422, 200], [None, "no [x]", None], [b"1.5", b"", b"2.5"]
    recorder.write([many])
    recorder.roll()
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"HANSANG_RECORDS": str(folder)})


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_tail_shows_the_newest_rows_oldest_first(folder: Path) -> None:
    result = run(folder, "tail", "-n", "4")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["time", "id", "endpoint", "model", "status", "ms", "input", "output"]
    assert [row.split()[1] for row in rows] == [ID.format(26), *(ID.format(27) + end for end in ("", "/1", "/2"))]
    assert "2026-11-18T11:07:06.250Z" in rows[0]
    assert "models:/bikes@3" in rows[0]
    assert rows[2].rstrip().endswith("no [x]")


def test_tail_gives_json_lines_with_the_bodies_as_json(folder: Path) -> None:
    rows = lines(run(folder, "tail", "-n", "3", "--json").stdout)
    assert [row["row"] for row in rows] == [0, 1, 2]
    first = rows[0]
    assert (first["time"], first["input"], first["output"]) == ("2026-11-18T11:07:10.250000Z", {"x": 27}, 1.5)
    assert (first["tags"], first["request_id"], first["model"]) == ({"shop": 7}, "mine", SHARED.model)
    assert (rows[1]["output"], rows[1]["error"], rows[1]["status"]) == (None, "no [x]", 422)


def test_tail_shows_twenty_rows_and_of_an_empty_record_none(folder: Path, tmp_path: Path) -> None:
    assert len(run(folder, "tail").stdout.splitlines()) == 21
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "tail", "--json")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_following_goes_on_with_new_rows_until_interrupted(
    folder: Path, make_rows: MakeRows, arguments: list[str]
) -> None:
    # a background job of a shell ignores SIGINT, and so would its children
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from hansang.cli.records import app; app()"
    command = [sys.executable, "-c", code, "tail", "--follow", "-n", "1", "--dir", str(folder), *arguments]
    recorder = Recorder(folder)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            assert ID.format(27) in follower.stdout.readline()
            for number in (50, 51):
                recorder.write([make_rows(number, 1, time.time())])
                assert ID.format(number) in follower.stdout.readline()
            follower.send_signal(signal.SIGINT)
            assert follower.stdout.read() == ""
        except BaseException:
            follower.kill()
            raise
    assert follower.returncode == 0


@pytest.mark.parametrize("name", [ID.format(27), "mine"])
def test_show_gives_all_rows_of_a_prediction_or_request(folder: Path, name: str) -> None:
    result = run(folder, "show", name)
    assert result.exit_code == 0
    assert result.stdout.count(ID.format(27)) == 3
    assert '{\n  "x": 27\n}' in result.stdout
    assert "no [x]" in result.stdout
    assert [row["row"] for row in lines(run(folder, "show", name, "--json").stdout)] == [0, 1, 2]


def test_show_says_that_there_is_no_such_id(folder: Path) -> None:
    result = run(folder, "show", "nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no record of 'nothing' in ")


def test_sql_answers_as_a_table_and_as_json(folder: Path) -> None:
    query = "SELECT status, count(*) AS rows, max(time) AS last FROM predictions GROUP BY ALL ORDER BY rows"
    table = [row.split() for row in run(folder, "sql", query).stdout.splitlines()]
    assert table == [
        ["status", "rows", "last"],
        ["422", "1", "2026-11-18T11:07:10.250000Z"],
        ["200", "29", "2026-11-18T11:07:10.250000Z"],
    ]
    assert lines(run(folder, "sql", query, "--json").stdout)[0] == {
        "status": 422,
        "rows": 1,
        "last": "2026-11-18T11:07:10.250000Z",
    }


def test_sql_gives_duckdbs_words_for_a_wrong_query(folder: Path) -> None:
    result = run(folder, "sql", "SELECT nothing FROM predictions")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith('error: Binder Error: Referenced column "nothing" not found')
    assert "Traceback" not in result.stderr


def test_sql_writes_numbers_that_are_none_as_null(folder: Path) -> None:
    assert lines(run(folder, "sql", "SELECT 'nan'::DOUBLE AS x", "--json").stdout) == [{"x": None}]


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    for arguments in (["tail"], ["tail", "--follow"], ["show", "x"], ["sql", "SELECT 1"]):
        result = run(tmp_path / "none", *arguments)
        assert result.exit_code == 1
        assert "a running service makes it with its first answer" in result.stderr


def test_the_command_itself_loads_without_duckdb_and_pyarrow() -> None:
    code = "import hansang.cli.records, sys; sys.exit(bool({'duckdb', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_long_bodies_are_shortened_before_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    row = ["2026-11-23T06:30:51.980Z", "01a20719-a94c-7001-8203-9fcd0f96268c", "x" * 500, "y" * 30]
    show_table(["time", "id", "input", "output"], [row], shortened=("input", "output"))
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == [row[0], row[1], line.split()[2], row[3]]
    assert line.split()[2].startswith("xxxx") and line.split()[2].endswith("…")


SLOW = ("asyncio", "pandas", "duckdb", "pyarrow.compute", "pyarrow.dataset", "fastapi", "mlflow", "pydantic_settings")
IMPORTED = """
import sys
from hansang.cli import main
sys.argv = ["hansang", "records", "show", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_to_show_one_prediction_imports_nothing_that_takes_long(tmp_path: Path, make_rows: MakeRows) -> None:
    moment = f"{int(TIME * 1000):012x}"
    rows = make_rows(0, 1, TIME)
    rows.ids = [id := f"{moment[:8]}-{moment[8:]}-7000-8000-000000000003"]
    recorder = Recorder(tmp_path)
    recorder.write([rows])
    recorder.roll()
    Compactor(tmp_path).work()
    command = [sys.executable, "-c", IMPORTED, id, "--dir", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout)["id"] == id
    assert set(SLOW) & set(done.stderr.split()) == set()
