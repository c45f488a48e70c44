"""The example `bikes`, as a user runs it: train, register, serve, ask, read the record, score a file."""

import hashlib
import json
import os
import platform
import re
import signal
import socket
import subprocess
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

from tests.examples.serving import HANSANG, ROOT, environment, run, served
from tests.served.running import until

BIKES = ROOT / "examples" / "bikes"
MLFLOW = Path(sys.executable).with_name("mlflow")
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


def test_the_version_says_which_data_and_which_code_it_was_made_of(project: Path) -> None:
    found = json.loads(run(HANSANG, "models", "show", "bikes", "--json", cwd=project))
    (data,) = found["run"]["data"]
    digest = hashlib.sha256(DATA.read_bytes()).hexdigest()
    assert (data["name"], data["context"], data["rows"]) == ("bikeshare", "training", 4226)
    assert data["digest"] == digest[:36] and data["source"] == str(DATA)
    tags = found["run"]["tags"]
    assert (tags["data_sha256"], tags["data_rows"], tags["python"]) == (digest, "4226", platform.python_version())
    own = hashlib.sha256((BIKES / "train.py").read_bytes()).hexdigest()
    assert re.fullmatch(rf"git:[0-9a-f]{{40}}|(git:\w+, changed: )?sha256:{own}", tags["code"])


def test_the_version_passes_what_a_swap_asks_of_it(project: Path) -> None:
    asked = ("models", "verify", "bikes", "--with", "1", "--service", BIKES / "service.py", "--json")
    checks = json.loads(run(HANSANG, *asked, cwd=project))["checks"]
    passed = {each["check"]: each["said"] for each in checks if each["passed"]}
    assert passed["golden requests"] == "12 answered as expected"
    assert [name for name in passed if name.startswith("compatible")] == [
        "compatible with bikes version 1",
        "compatible with bikes, bikes",
    ]


def test_mlflow_runs_the_project_in_this_environment(tmp_path: Path) -> None:
    command: list[str | Path] = [
        MLFLOW,
        "run",
        BIKES,
        "--env-manager=local",
        "--experiment-name",
        "bikes",
        "-P",
        "trees=20",
    ]
    subprocess.run(command, cwd=tmp_path, env=with_path(), capture_output=True, timeout=120, check=True)
    found = json.loads(run(HANSANG, "models", "show", "bikes", "--json", cwd=tmp_path))["run"]
    assert (found["params"]["trees"], found["status"]) == ("20", "FINISHED")
    assert found["tags"]["mlflow.project.entryPoint"] == "main"


def test_mlflow_serves_the_same_version_with_the_same_answers(project: Path) -> None:
    inputs, _ = rows(3)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command: list[str | Path] = [
        MLFLOW,
        "models",
        "serve",
        "-m",
        "models:/bikes/1",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    env = with_path() | {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}
    log = project / "mlflow.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=project, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            until(lambda: answers(client), patience=60)
            said = client.post("/invocations", json={"dataframe_records": inputs}).json()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert said["predictions"] == pytest.approx(of_the_bare_model(project, inputs))


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").status_code == 200
    except httpx.TransportError:
        return False


def with_path() -> dict[str, str]:
    """Give an environment in which `python` is the one of these tests."""
    found = environment()
    return found | {"PATH": f"{MLFLOW.parent}{os.pathsep}{found.get('PATH', '')}"}


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
