"""`hansang score` as a user runs it: exit statuses, what it prints, real models, and the same answers as online."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hansang import Batch, Model, Service
from hansang.scoring import score
from hansang.target import load_target
from hansang.types import Image
from tests.scoring.conftest import DEMAND, Command, hours, read, write

FLOWERS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CHAMPION = "models:/flowers@champion"


def flower_table(rows: int) -> Any:
    columns = np.random.default_rng(1).uniform(0.1, 7.9, size=(4, rows)).round(2)
    return pa.table({name: pa.array(column) for name, column in zip(FLOWERS, columns, strict=True)})


async def online(service: Service, path: str, rows: list[dict[str, Any]]) -> Any:
    """Ask the service's application, without a socket."""
    transport = httpx.ASGITransport(service.app)
    async with (
        service.lifespan(service.app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        return (await client.post(path, json=rows)).json()


def test_a_run_without_faults_ends_with_status_0(command: Command, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", hours(50))
    done = command(DEMAND, source, "-o", "out.csv")
    assert done.stdout.startswith("50 rows in out.csv (")
    assert done.stderr == ""
    assert len(read(tmp_path / "out.csv")) == 50


def test_rows_without_a_prediction_make_status_1_and_a_table(command: Command, tmp_path: Path) -> None:
    rows = hours(50)
    for n in range(3):
        rows[n]["hour"] = 24
    rows[3]["temp"] = 2
    source = write(tmp_path / "in.jsonl", rows)
    printed = command(DEMAND, source, "-o", "out.csv", status=1).stdout
    assert "rows without a prediction: 4" in printed
    assert "3  422: hour: Input should be less than or equal to 23" in printed
    summary = json.loads(command(DEMAND, source, "-o", "out.csv", "--json", status=1).stdout)
    assert (summary["rows"], summary["predicted"], summary["failed"]) == (50, 46, 4)
    assert list(summary["errors"].values()) == [3, 1]


def test_wrong_usage_is_status_2(command: Command, tmp_path: Path) -> None:
    assert command(DEMAND, "none.csv", "-o", "out.csv", status=2).stderr == "error: no file none.csv\n"
    assert "no target" in command("nothing_there", "none.csv", "-o", "out.csv", status=2).stderr


@pytest.mark.slow
def test_several_processes_give_the_same_output_in_the_same_order(command: Command, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", hours(3000))
    one = command(DEMAND, source, "-o", "one.parquet", "--processes", 1)
    given = ("--processes", 3, "--chunk", 100, "--json")
    several = command(DEMAND, source, "-o", "three.parquet", *given, DEMAND_SECONDS="0.2")
    assert one.stdout and json.loads(several.stdout)["processes"] == 3
    assert read(tmp_path / "three.parquet") == read(tmp_path / "one.parquet")


def test_a_registered_model_scores_a_file_as_it_answers_requests(
    command: Command, flowers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(flower_table(500), tmp_path / "in.parquet")
    done = command(CHAMPION, "in.parquet", "-o", "out.parquet", "--json", MLFLOW_TRACKING_URI=flowers)
    summary = json.loads(done.stdout)
    assert summary["models"] == {"0 flowers": f"1 {CHAMPION}"}
    scored = read(tmp_path / "out.parquet")
    rows = [{name: row[name] for name in FLOWERS} for row in scored]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", flowers)
    answers = asyncio.run(online(load_target(CHAMPION), "/predict", rows))
    assert [{"label": row["label"]} for row in scored] == answers
    assert len({row["label"] for row in scored}) > 1


def test_a_registered_model_gets_whole_columns(flowers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", flowers)
    pq.write_table(flower_table(20_000), tmp_path / "in.parquet")
    service = load_target(CHAMPION)
    service.load()
    counts = service.models[0].loaded.batcher.counts
    counts.calls = counts.rows = 0
    monkeypatch.setattr(Batch, "rows", property(lambda batch: pytest.fail("rows were made of columns")))
    summary = score(service, ["in.parquet"], "out.parquet")
    assert (summary.rows, summary.failed) == (20_000, 0)
    assert (counts.calls, counts.rows) == (3, 20_000)  # 8192 at once


@pytest.mark.parametrize("endpoint", ["/predict", "/columns", "/bare"])
def test_online_answers_are_the_offline_results(service: Service, tmp_path: Path, endpoint: str) -> None:
    rows = hours(60)
    rows[3]["hour"], rows[5]["temp"] = 99, 1.5
    score(service, [write(tmp_path / "in.parquet", rows)], "out.jsonl", endpoint=endpoint, keep="none")
    answers = asyncio.run(online(load_target(str(DEMAND)), endpoint, rows))
    for scored, answer in zip(read(tmp_path / "out.jsonl"), answers, strict=True):
        error = scored.pop("error")
        del scored["row"]
        if error is not None:
            fault = answer["error"]["errors"][0]
            assert error == f"422: {fault['loc'][1]}: {fault['msg']}"
        else:
            assert (scored if endpoint != "/bare" else scored["prediction"]) == answer


def test_pictures_are_one_row_a_file(tmp_path: Path) -> None:
    from matplotlib import get_data_path
    from pydantic import BaseModel

    class Photo(BaseModel):
        image: Image

    photos = tmp_path / "photos"
    photos.mkdir()
    sample = Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"
    for name in ("a.jpg", "c.jpg"):
        shutil.copy(sample, photos / name)
    (photos / "b.jpg").write_bytes(b"no picture")
    service = Service("size", Model(lambda batch: [row.image.size[0] for row in batch.rows]), input=Photo)
    summary = score(service, ["photos/*.jpg"], "out.jsonl")
    assert (summary.rows, summary.failed) == (3, 1)
    scored = read(tmp_path / "out.jsonl")
    assert [row["source"] for row in scored] == ["photos/a.jpg", "photos/b.jpg", "photos/c.jpg"]
    assert [row["prediction"] for row in scored] == [512, None, 512]
    assert scored[1]["error"].startswith("422: image: ")


def test_a_service_that_cannot_be_loaded_says_why(command: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    write(tmp_path / "in.csv", hours(1))
    assert (
        "broken.py cannot be loaded: ZeroDivisionError"
        in command("broken.py", "in.csv", "-o", "out.csv", status=2).stderr
    )
