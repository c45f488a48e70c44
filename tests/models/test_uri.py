from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.models.artifact import Artifact
from hansang.models.registry import Reference, parse
from hansang.models.uri import default_registry, locate, resolve

ID = "m-" + "0" * 32


@pytest.mark.parametrize(
    ("uri", "reference"),
    [
        ("models:/age", ("alias", "age", "champion")),
        ("models:/age@champion", ("alias", "age", "champion")),
        ("models:/a@b@next", ("alias", "a@b", "next")),
        ("models:/age/3", ("version", "age", "3")),
        ("models:/age/latest", ("latest", "age", "")),
        (f"models:/{ID}", ("id", ID, ID)),
        ("runs:/abc/model", ("run", "abc", "model")),
        ("runs:/abc/deep/model", ("run", "abc", "deep/model")),
    ],
)
def test_every_form_of_uri_is_read(uri: str, reference: tuple[str, str, str]) -> None:
    found = parse(uri)
    assert isinstance(found, Reference)
    assert (found.kind, found.name, found.value) == reference


@pytest.mark.parametrize("uri", ["age.onnx", "./models/age", "/abs/age.onnx", "file:///abs/age"])
def test_anything_else_is_a_path(uri: str) -> None:
    assert parse(uri) is None


@pytest.mark.parametrize(
    "uri", ["models:/", "models:/@x", "models:/age@", "models:/age/Production", "models:/a/1/2", "runs:/a"]
)
def test_a_uri_that_is_none_says_what_one_looks_like(uri: str) -> None:
    with pytest.raises(ModelError, match="is not a model URI; expected"):
        parse(uri)


def test_each_form_finds_the_same_version(project: Path, registry: str) -> None:
    first = resolve("models:/linear", registry=registry)
    for uri in ("models:/linear@champion", "models:/linear/1"):
        found = resolve(uri, registry=registry)
        assert (found.name, found.version, found.model_id) == ("linear", "1", first.model_id)
        assert found.aliases == ("champion",)
    by_id = resolve(f"models:/{first.model_id}", registry=registry)
    by_run = resolve(f"runs:/{first.run_id}/linear", registry=registry)
    assert by_id.path == by_run.path == first.path
    assert by_id.version == by_run.version == first.model_id
    assert resolve("models:/linear/latest", registry=registry).version == "2"
    assert resolve(str(first.path)).version == first.model_id
    assert resolve(f"file://{first.path}/MLmodel").digest == first.digest


def test_an_artifact_holds_what_was_logged(model: Callable[[str], Artifact]) -> None:
    found = model("linear")
    assert found.signature and found.signature.input_names == ("a", "b", "c d")
    assert found.example and len(found.example) == 2
    assert set(found.flavors) == {"sklearn", "python_function"}
    assert len(found.digest) == 64


def test_an_example_of_every_type_arrives_as_validation_leaves_it(model: Callable[[str], Artifact]) -> None:
    rows = model("kinds/1").example
    assert rows and rows[1]["binary"] == b"\x00\xff"
    assert rows[1]["optional"] is None
    assert rows[0]["datetime"].year == 2024
    assert rows[0]["object"] == {"x": 1, "y": None}


def test_an_example_with_params_and_an_array_under_column_names_are_rows_too(model: Callable[[str], Artifact]) -> None:
    python = model("python/1").example
    assert python and python[0]["params"] == {"factor": 2.0, "rows": 0}
    assert set(python[0]) == {"a", "b", "c d", "params"}
    challenger = model("linear@challenger").example
    assert challenger and set(challenger[0]) == {"a", "b", "c d"}


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/digit", r"no model 'digit'; the registry has: .*kinds, .*linear"),
        ("models:/pickled", r"model 'pickled' has no alias 'champion'; it has none, but versions 1; set it in MLflow"),
        ("models:/linear@next", r"model 'linear' has no alias 'next'; it has: challenger \(2\), champion \(1\)"),
        ("models:/linear/9", r"model 'linear' has no version 9; it has: 1, 2"),
        ("models:/empty/latest", r"model 'empty' has no versions; register one"),
        (f"models:/{ID}", r"no logged model 'm-0+' in the registry"),
        ("runs:/nope/model", r"no run 'nope' in the registry"),
    ],
)
def test_what_is_missing_is_said_with_what_there_is(registry: str, uri: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message):
        resolve(uri, registry=registry)


def test_a_run_without_that_model_is_said(model: Callable[[str], Artifact], registry: str) -> None:
    with pytest.raises(ModelNotFound, match=r"'other'"):
        resolve(f"runs:/{model('linear').run_id}/other", registry=registry)


def test_an_empty_registry_is_said(registry: str, tmp_path: Path) -> None:
    copy = copied(registry, tmp_path)
    change(copy, "DELETE FROM registered_model_aliases", "DELETE FROM model_versions", "DELETE FROM registered_models")
    with pytest.raises(ModelNotFound, match="no model 'linear'; the registry is empty; register a model first"):
        resolve("models:/linear", registry=f"sqlite:///{copy}")


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE logged_models", "the table logged_models"),
        ("ALTER TABLE model_versions RENAME COLUMN storage_location TO elsewhere", "model_versions.storage_location"),
    ],
)
def test_an_old_database_is_told_from_a_broken_one(registry: str, tmp_path: Path, statement: str, missing: str) -> None:
    copy = copied(registry, tmp_path)
    change(copy, statement)
    with pytest.raises(RegistryUnavailable, match=f"{missing} is missing; run: mlflow db upgrade sqlite:///"):
        resolve("models:/linear", registry=f"sqlite:///{copy}")


def test_a_file_that_is_no_database_and_no_file_at_all_are_said(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(RegistryUnavailable, match="cannot be read: file is not a database"):
        resolve("models:/linear", registry=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(RegistryUnavailable, match=r"no registry at .*; register a model there .*MLFLOW_TRACKING_URI"):
        resolve("models:/linear", registry=f"sqlite:///{tmp_path}/none.db")


def test_a_deleted_version_is_gone_and_one_that_is_not_ready_is_refused(registry: str, tmp_path: Path) -> None:
    copy = copied(registry, tmp_path)
    change(copy, "UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = 'linear' AND version = 2")
    change(copy, "UPDATE model_versions SET status = 'PENDING_REGISTRATION' WHERE name = 'linear' AND version = 1")
    with pytest.raises(ModelNotFound, match="it has: 1"):
        resolve("models:/linear/2", registry=f"sqlite:///{copy}")
    with pytest.raises(ModelError, match="version 1 is not ready: its status is PENDING_REGISTRATION"):
        resolve("models:/linear", registry=f"sqlite:///{copy}")


def test_a_moved_project_finds_its_models_and_a_database_alone_says_what_is_missing(
    project: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(project, moved)
    database = moved / "mlflow.db"
    change(database, f"UPDATE model_versions SET storage_location = replace(storage_location, '{project}', '/gone')")
    found = resolve("models:/linear", registry=f"sqlite:///{database}")
    assert found.path.is_relative_to(moved)
    shutil.rmtree(moved / "mlruns")
    with pytest.raises(ModelNotFound, match="there is no such folder; copy the folder along with the database"):
        resolve("models:/linear", registry=f"sqlite:///{database}")


def test_a_server_database_read_directly_says_that_the_files_are_behind_the_server(
    registry: str, tmp_path: Path
) -> None:
    copy = copied(registry, tmp_path)
    change(copy, "UPDATE model_versions SET storage_location = 'mlflow-artifacts:/0/models/x/artifacts'")
    with pytest.raises(ModelError, match=r"behind an MLflow server .*set MLFLOW_TRACKING_URI to its address"):
        resolve("models:/linear", registry=f"sqlite:///{copy}")


def test_the_registry_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    assert default_registry() == "sqlite:///mlflow.db"
    monkeypatch.chdir(project)
    assert locate("models:/linear").version == "1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert default_registry() == "http://tracking"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")
    assert default_registry() == "http://registry"


def test_locate_takes_only_registry_uris() -> None:
    with pytest.raises(ModelError, match="is not in a registry"):
        locate("age.onnx")


def test_other_registries_go_through_mlflow_and_answer_the_same(registry: str) -> None:
    code = (
        "import sys\n"
        "from hansang.models.registries.client import ClientRegistry\n"
        "from hansang.models.registry import parse\n"
        "from hansang.errors import ModelNotFound\n"
        "found = ClientRegistry(sys.argv[1])\n"
        "run = found.find(parse('models:/linear')).run_id\n"
        "for uri in ('models:/linear', 'models:/linear/latest', f'runs:/{run}/linear'):\n"
        "    version = found.find(parse(uri)); print(version.name, version.version[:2], version.aliases)\n"
        "for uri in ('models:/digit', 'models:/linear@next', 'models:/linear/9', 'models:/empty/latest'):\n"
        "    try: found.find(parse(uri))\n"
        "    except ModelNotFound as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, registry], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["linear 1 ('champion',)", "linear 2 ('challenger',)", "linear m- ()"]
    assert lines[3].startswith("no model 'digit'; the registry has: empty, hinted")
    assert lines[4:] == [
        "model 'linear' has no alias 'next'; it has: challenger (2), champion (1)",
        "model 'linear' has no version 9; it has: 1, 2",
        "model 'empty' has no versions; register one",
    ]


# --- paths ---


def test_a_bare_file_is_named_after_itself_and_its_version_is_its_content(files: Path) -> None:
    found = resolve(str(files / "linear.onnx"))
    assert (found.name, found.version) == ("linear", found.digest[:12])
    assert set(found.flavors) == {"onnx"}


def test_what_is_not_a_model_is_said_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"model.h5 is not a model; expected an MLflow model folder, or a file .onnx"):
        resolve(str(tmp_path / "model.h5"))
    with pytest.raises(ModelError, match="is not an MLflow model: it has no MLmodel file"):
        resolve(str(tmp_path))
    with pytest.raises(ModelNotFound, match="there is no such file or folder"):
        resolve(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flavors: [", "MLmodel cannot be read"),
        ("a: 1", "MLmodel is not an MLmodel file: it names no flavors"),
        ("text", "is not an MLmodel file"),
    ],
)
def test_a_broken_mlmodel_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelError, match=message):
        resolve(str(tmp_path))


def test_a_file_outside_the_folder_or_missing_from_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {onnx: {data: ../x.onnx}}")
    found = resolve(str(tmp_path))
    with pytest.raises(ModelError, match=r"names the file '\.\./x.onnx', which lies outside the model's folder"):
        found.file("../x.onnx")
    with pytest.raises(ModelError, match="the file 'x.onnx' that MLmodel names is missing"):
        found.file(None, "x.onnx")
    with pytest.raises(ModelError, match="does not say which file holds the model"):
        found.file(None)


def test_the_digest_changes_with_any_byte_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": {}}))
    seen = {resolve(str(tmp_path)).digest}
    (tmp_path / "a").write_text("x")
    seen.add(resolve(str(tmp_path)).digest)
    (tmp_path / "a").write_text("y")
    seen.add(resolve(str(tmp_path)).digest)
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(resolve(str(tmp_path)).digest)
    assert len(seen) == 4


def copied(registry: str, folder: Path) -> Path:
    target = folder / "copy.db"
    shutil.copy(registry.removeprefix("sqlite:///"), target)
    return target


def change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
