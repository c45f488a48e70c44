"""The example `bikes`, as a user runs it: train, register, serve, ask, read the record, score a file."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.examples.serving import HANSANG, ROOT, run, served

BIKES = ROOT / "examples" / "bikes"
DATA = BIKES / "data" / "bikeshare.parquet"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which train.py has run."""
    folder = tmp_path_factory.mktemp("bikes")
    said = run(sys.executable, BIKES / "train.py", cwd=folder)
    assert "registered: models:/bikes@champion, version 1" in said
    return folder


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[httpx.Client]:
    with served(BIKES / "service.py", cwd=project) as client:
        yield client


def hours(count: int) -> pa.Table:
    table = pq.read_table(DATA)
    return table.filter(pc.field("day") > 180).slice(0, count)


def rows(count: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Give the first hours after day 180 as the service takes them, and what was true."""
    table = hours(count)
    return table.drop_columns(["day", "bikers"]).to_pylist(), table["bikers"].to_pylist()


def of_the_bare_model(project: Path, inputs: list[dict[str, Any]]) -> list[float]:
    (path,) = project.glob("mlruns/**/model.lgb")
    answers = lightgbm.Booster(model_file=path).predict([[float(v) for v in row.values()] for row in inputs])
    return [float(answer) for answer in answers]


def test_the_data_is_in_the_order_of_time_and_complete() -> None:
    table = pq.read_table(DATA)
    times = [day * 24 + hour for day, hour in zip(*(table[name].to_pylist() for name in ("day", "hour")), strict=True)]
    assert table.num_rows == 8645
    assert times == sorted(set(times))
    assert not any(column.null_count for column in table.columns)
    assert pc.sum(table["bikers"]).as_py() == 1_243_103


def test_training_again_on_the_same_data_registers_nothing(project: Path) -> None:
    assert run(sys.executable, BIKES / "train.py", cwd=project).startswith("bikes version 1 is the champion already")


def test_the_run_says_what_the_model_was_made_of(project: Path) -> None:
    code = (
        "import json, mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); c = mlflow.MlflowClient();"
        "v = c.get_model_version_by_alias('bikes', 'champion'); r = c.get_run(v.run_id);"
        "print(json.dumps([r.data.params, r.data.metrics,"
        " mlflow.artifacts.load_dict(r.info.artifact_uri + '/environment.json')]))"
    )
    parameters, metrics, environment = json.loads(run(sys.executable, "-c", code, cwd=project))
    assert parameters["data_sha256"] == hashlib.sha256(DATA.read_bytes()).hexdigest()
    assert parameters["objective"] == "poisson"
    assert metrics["mae"] == pytest.approx(26.0, abs=1.0)
    assert metrics["baseline_mae"] == pytest.approx(83.0, abs=0.1)
    assert environment["lightgbm"] == lightgbm.__version__


def test_the_model_is_a_text_file_that_needs_no_trust(project: Path) -> None:
    (model,) = project.glob("mlruns/**/model.lgb")
    assert model.read_text().startswith("tree\n")
    assert not [path for path in project.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".skops"}]


def test_real_hours_get_the_bare_models_answers(client: httpx.Client, project: Path) -> None:
    inputs, truth = rows(720)
    answer = client.post("/predict", json=inputs)
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "1"
    predicted = [row["bikers"] for row in answer.json()]
    assert predicted == pytest.approx(of_the_bare_model(project, inputs))
    assert sum(abs(p - t) for p, t in zip(predicted, truth, strict=True)) / len(truth) == pytest.approx(26.0, abs=1.0)


def test_one_hour_gets_one_answer_and_an_id(client: httpx.Client, project: Path) -> None:
    (row,), _ = rows(1)
    answer = client.post("/predict", json=row)
    assert answer.json() == pytest.approx({"bikers": of_the_bare_model(project, [row])[0]})
    assert answer.headers["x-prediction-id"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"hour": 24}, "hour"),
        ({"temp": "warm"}, "temp"),
        ({"workingday": 1.5}, "workingday"),
        ({"wind": 0.1}, "wind"),
        ({"weather": None}, "weather"),
    ],
)
def test_a_wrong_hour_is_refused_with_its_place(client: httpx.Client, change: dict[str, Any], place: str) -> None:
    (row,), _ = rows(1)
    answer = client.post("/predict", json=row | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["loc"][-1] for error in answer.json()["errors"]] == [place]


def test_the_documentation_shows_bounds_descriptions_and_examples(client: httpx.Client) -> None:
    hour = client.get("/openapi.json").json()["components"]["schemas"]["Hour"]["properties"]["hour"]
    assert (hour["minimum"], hour["maximum"]) == (0, 23)
    assert hour["description"] == "Hour of the day."
    assert hour["examples"] == [17]


def test_every_answer_is_in_the_record_with_input_and_output(client: httpx.Client, project: Path) -> None:
    (row,), _ = rows(1)
    answer = client.post("/predict", json=row)
    shown = run(HANSANG, "records", "show", answer.headers["x-prediction-id"], "--json", cwd=project)
    recorded = json.loads(shown)
    assert (recorded["service"], recorded["model"], recorded["version"]) == ("bikes", "bikes", "1")
    assert recorded["input"] == row
    assert recorded["output"] == answer.json()


def test_the_registered_model_is_served_without_code(project: Path) -> None:
    inputs, _ = rows(3)
    with served("models:/bikes@champion", cwd=project) as client:
        answer = client.post("/predict", json=inputs)
        assert [row["bikers"] for row in answer.json()] == pytest.approx(of_the_bare_model(project, inputs))
        assert client.post("/predict", json=inputs[0] | {"hour": "17"}).status_code == 422


def test_a_file_is_scored_with_the_same_answers(project: Path, tmp_path: Path) -> None:
    inputs, _ = rows(100)
    pq.write_table(hours(100).drop_columns(["day", "bikers"]), tmp_path / "hours.parquet")
    run(HANSANG, "score", BIKES / "service.py", tmp_path / "hours.parquet", "-o", tmp_path / "out.parquet", cwd=project)
    scored = pq.read_table(tmp_path / "out.parquet")
    assert scored["bikers"].to_pylist() == pytest.approx(of_the_bare_model(project, inputs))
