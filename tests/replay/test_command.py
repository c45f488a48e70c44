"""`hansang replay` as a user runs it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hansang.cli.main import app, main
from tests.replay.conftest import RIDES, Write

Run = Callable[..., tuple[int, str, str]]
BEGINNING = "2026-11-18"


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; gives its status and what it printed."""

    def command(*words: object) -> tuple[int, str, str]:
        assert app.info.name == "hansang"
        given = [*map(str, words), "--dir", str(folder), "--since", BEGINNING]
        monkeypatch.setattr(sys, "argv", ["hansang", "replay", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return command


def report(printed: str) -> Any:
    return json.loads(printed)


def test_the_same_answers_are_status_0(run: Run, write: Write) -> None:
    write([1, 2])
    status, printed, errors = run(RIDES, "--tolerance", 0)
    assert (status, errors) == (0, "")
    assert re.search(r"rows that changed +0: 0\.00% \(0\.00% to 65\.76%\)", printed)
    assert "Labels of kind" in printed


def test_differences_are_status_1_where_a_tolerance_says_so(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDES_FACTOR", "2")
    write([0, 1, 2, 3])
    assert run(RIDES)[0] == 0
    assert run(RIDES, "--tolerance", "1%")[0] == 1
    assert run(RIDES, "--tolerance", "50%")[0] == 0
    assert run(RIDES, "--tolerance", "1%", "--allow", "75%")[0] == 0
    assert run(RIDES, "--tolerance", "1%", "--allow", "0.7")[0] == 1


def test_rows_that_fail_only_now_are_status_1(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIDES_LIMIT", "1")
    write([1, 2])
    status, printed, _ = run(RIDES, "--json")
    assert status == 1
    assert report(printed)["newly_failed"] == 1


def test_nothing_to_replay_is_status_1_and_says_why(run: Run, write: Write) -> None:
    write([1], inputs=[b""], statuses=[422], outputs=[b""])
    status, printed, _ = run(RIDES)
    assert status == 1
    assert "the record has no input" in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rate", "2x"], "--rate is for load on a server; give its --url"),
        (["--url", "http://127.0.0.1:9", "--with", "models:/a/1"], "leave out --with and --processes"),
        (["--tolerance", "x"], "the tolerance 'x' is not understood"),
        (["--tolerance", "0", "--allow", "many"], "--allow 'many' is no share of rows"),
        (["-o", "rows.csv"], "rows.csv must end in .parquet or .jsonl for rows"),
        (["-o", "a.parquet", "-o", "b.jsonl"], "are both for rows"),
        (["-o", "none/a.html"], "no folder none for a.html; make it first"),
        (["--with", "models:/a/b/c"], "is not a model URI"),
    ],
)
def test_wrong_usage_is_status_2(run: Run, write: Write, words: list[str], says: str) -> None:
    write([1])
    status, _, errors = run(RIDES, *words)
    assert status == 2
    assert says in errors


def test_reports_are_pages_that_need_nothing_else(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDES_FACTOR", "2")
    ids = write([1, 9])
    given = [word for name in ("a.html", "a.md", "a.json", "a.jsonl") for word in ("-o", name)]
    assert run(RIDES, *given)[0] == 0
    page, text = ((tmp_path / name).read_text() for name in ("a.html", "a.md"))
    assert ids[1] in page and ids[1] in text
    assert not re.search(r"(src|href)=|https?://", page)
    assert "| minutes | 2 | 100.00% (34.24% to 100.00%) |" in text
    assert json.loads((tmp_path / "a.json").read_text())["changed"] == 2
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


def test_text_of_the_record_cannot_become_part_of_a_page(run: Run, write: Write, tmp_path: Path) -> None:
    write([1], outputs=[b'{"minutes": 3, "kind": "<script>|\\n"}'])
    run(RIDES, "-o", "a.html", "-o", "a.md")
    assert "<script>" not in (tmp_path / "a.html").read_text()
    assert "<script>\\| " in (tmp_path / "a.md").read_text()
