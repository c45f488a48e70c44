"""Versions and runs as each way to read a registry tells them: all alike."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from hansang.errors import ModelNotFound
from hansang.models.catalogue import Catalogue, Run
from hansang.models.registries.client import ClientRegistry
from hansang.models.registries.rest import RestRegistry
from hansang.models.registries.sqlite import SqliteRegistry
from tests.models.conftest import Server
from tests.models.steps import by_mlflow, write

# mlflow's own client, in this process, warns of what it imports
pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore")]

NAME = "told's"  # a quote must not leave the filter of a search
SCRIPT = """
import numpy
name, source = arguments
client.create_registered_model(name)
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({"trees": 300, "rate": 0.1})
    mlflow.log_metrics({"mae": 3.0, "worst": float("nan")})
    mlflow.log_metric("mae", 2.5, step=1)
    mlflow.set_tags({"code": "git:abc", "python": "3.12"})
    data = mlflow.data.from_numpy(numpy.ones((7, 2)), name="hours", digest="d1")
    mlflow.log_input(data, context="training")
    mlflow.log_artifacts(source, "model")
    place = mlflow.get_artifact_uri("model")
client.create_model_version(name, place, run.info.run_id, description="the first", tags={"by": "hand"})
client.create_model_version(name, place, run.info.run_id)
client.set_registered_model_alias(name, "champion", "1")
client.set_registered_model_alias(name, "blue", "1")
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("catalogue")
    uri = f"sqlite:///{folder}/mlflow.db"
    by_mlflow(uri, folder, SCRIPT, NAME, str(write(folder / "model", 1)))
    return uri


@pytest.fixture(params=["sqlite", "client", "rest"])
def catalogue(request: pytest.FixtureRequest, local: str, tmp_path: Path) -> Catalogue:
    if request.param == "sqlite":
        return SqliteRegistry(local)
    if request.param == "client":
        return ClientRegistry(local)
    server: Server = request.getfixturevalue("server")
    found = RestRegistry(server.uri)
    if NAME not in found.names():
        by_mlflow(server.uri, tmp_path, SCRIPT, NAME, str(write(tmp_path / "model", 1)))
        shutil.rmtree(tmp_path / "model")
    return found


def test_versions_and_the_run_that_made_one_are_told_alike_by_every_registry(catalogue: Catalogue) -> None:
    assert NAME in catalogue.names()
    second, first = catalogue.versions(NAME)
    assert (first.version, first.aliases, first.description) == ("1", ("blue", "champion"), "the first")
    assert (dict(first.tags), first.status) == ({"by": "hand"}, "READY")
    assert (second.version, second.aliases, second.run_id) == ("2", (), first.run_id)
    assert second.created >= first.created > 1_700_000_000_000
    run = catalogue.run(str(first.run_id))
    assert run is not None
    assert (run.name, run.status, dict(run.params)) == ("first", "FINISHED", {"rate": "0.1", "trees": "300"})
    assert run.metrics["mae"] == 2.5 and math.isnan(run.metrics["worst"])
    assert (run.told["code"], run.told["python"]) == ("git:abc", "3.12")
    assert not [key for key in run.told if key.startswith("mlflow.log-model")]
    (data,) = run.datasets
    assert (data.name, data.digest, data.context) == ("hours", "d1", "training")
    assert data.profile["features_shape"] == [7, 2]


def test_what_is_not_there_is_told_alike_by_every_registry(catalogue: Catalogue) -> None:
    assert catalogue.run("0" * 32) is None
    with pytest.raises(ModelNotFound, match="no model 'nothing'; the registry has: "):
        catalogue.versions("nothing")


def test_of_mlflows_own_tags_only_those_are_shown_that_tell_something() -> None:
    run = Run("r", tags={"mlflow.runName": "x", "mlflow.user": "ann", "code": "1"})
    assert run.told == {"mlflow.user": "ann", "code": "1"}
