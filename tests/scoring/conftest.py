from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from hansang.service import Service
from hansang.target import load_target

HERE = Path(__file__).parent
DEMAND = HERE / "demand.py"
HANSANG = Path(sys.executable).with_name("hansang")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}

Row = dict[str, Any]
Command = Callable[..., subprocess.CompletedProcess[str]]


def plain_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANSANG_", "MLFLOW_"))}
    return kept | QUIET


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(plain_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def service() -> Iterator[Service]:
    loaded = load_target(str(DEMAND))
    yield loaded
    loaded.unload()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`hansang score` in a process of its own."""

    def run(*arguments: object, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        words = [str(HANSANG), "score", *map(str, arguments)]
        env = plain_environment() | variables
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The registry with a real ONNX model, `models:/flowers@champion`."""
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    env = plain_environment() | {"MLFLOW_TRACKING_URI": uri}
    done = subprocess.run(
        [sys.executable, HERE / "register.py"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return uri


def hours(count: int, start: int = 0) -> list[Row]:
    return [
        {
            "hour": n % 24,
            "temp": (n % 100) / 100,
            "city": f"c{n % 7:03}",
            "open": n % 2 == 0,
            "note": None if n % 3 else f"n{n}",
        }
        for n in range(start, start + count)
    ]


def write(path: Path, rows: list[Row]) -> Path:
    """Write rows in the format of the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[Row]:
    """Read an output of any format."""
    rows: list[Row]
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
        rows = pyarrow.csv.read_csv(path, convert_options=options).to_pylist()
    return rows


def expected(row: Row) -> Row:
    return {
        "bikers": row["hour"] * 10 + row["temp"],
        "city": row["city"].upper(),
        "parts": [row["temp"], float(row.get("open", True))],
    }
