"""`hansang report`: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hansang.cli.main import app
from hansang.errors import UsageError

JUNE = ("--since", "2026-06-01", "--until", "2026-07-01")


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", "bikes", *arguments], env={"HANSANG_RECORDS": str(folder)})


def test_a_degraded_service_ends_with_one_and_says_why(bikes: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run(bikes, *JUNE, "--reference", "2026-04-01..2026-05-01", "--by", "weather", "-o", str(page))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:2] == ["bikes: degraded, 2026-06-01 to 2026-07-01 (UTC)", "compared with 2026-04-01 to 2026-05-01"]
    assert any(line.startswith("quality bikers: MAE ") for line in lines)
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert "Degraded" in page.read_text("utf-8")


def test_with_floors_above_every_change_it_ends_with_zero(bikes: Path) -> None:
    high = ("--psi", "99", "--loss", "99")
    result = run(bikes, *JUNE, "--reference", "2026-05-15..2026-06-01", "--alpha", "0.0000001", *high, "--json")
    assert result.exit_code == 0, result.stdout
    document = json.loads(result.stdout)
    assert (document["status"], document["findings"]) == ("fine", [])
    assert document["window"] == {"start": "2026-06-01T00:00:00Z", "end": "2026-07-01T00:00:00Z"}
    group = document["quality"]["targets"][0]["groups"][0]
    assert group["now"]["metrics"]["MAE"]["low"] < group["now"]["metrics"]["MAE"]["value"]
    assert {row["pairs"] for row in document["quality"]["targets"][0]["pairs"]["day"]} <= {23, 24}
    assert len(document["quality"]["targets"][0]["worst"]) == 10
    assert document["quality"]["targets"][0]["worst"][0]["input"]["hour"] in range(24)


def test_wrong_usage_is_told_as_such(bikes: Path) -> None:
    """`main` makes exit status 2 of it."""
    assert isinstance(run(bikes, "--since", "soon").exception, UsageError)
    assert isinstance(run(bikes, "--since", "1h").exception, UsageError)
    assert "answered nothing" in str(run(bikes, "--since", "1h").exception)
    assert run(bikes, "--psi", "-1").exit_code == 2


def test_a_reference_that_cannot_be_read_is_no_finding(bikes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "train.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    assert isinstance(run(bikes, *JUNE, "--reference", str(broken)).exception, UsageError)


@pytest.mark.parametrize("name", ["nowhere/report.html"])
def test_a_page_that_cannot_be_written_says_so(bikes: Path, tmp_path: Path, name: str) -> None:
    result = run(bikes, *JUNE, "-o", str(tmp_path / name))
    assert isinstance(result.exception, UsageError)
    assert "cannot be written" in str(result.exception)
