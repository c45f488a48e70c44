"""`hansang models` as a user runs it, on a registry that mlflow made."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hansang.cli.main import build
from hansang.errors import HansangError
from hansang.models.moves import move_alias
from hansang.models.registry import REFUSED
from hansang.models.uri import open_registry
from tests.models.keys import make_keys
from tests.models.steps import STEP, register, write

GOLDEN = [{"input": {"x": 2.0}, "output": {"y": 2.0 + STEP}}]

SERVICE = """
from pydantic import BaseModel

from hansang import Model, Service


class Row(BaseModel):
    x: float


service = Service("steps", Model("models:/steps"), input=Row)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with versions 1 and 2, which are good, 3 with a renamed input and 4 that answers otherwise."""
    folder = tmp_path_factory.mktemp("steps")
    versions = [
        write(folder / "1", 1, golden=GOLDEN),
        write(folder / "2", 2),
        write(folder / "3", 3, inputs={"other": "double"}),
        write(folder / "4", 4, golden=GOLDEN),
    ]
    (versions[0] / "requirements.txt").write_text("onnxruntime==1.20\nnumpy\n")
    (versions[1] / "requirements.txt").write_text("onnxruntime==1.21  # newer\nnumpy\n")
    register(folder, ["steps", "others"], versions)
    (folder / "service.py").write_text(SERVICE)
    return folder


@pytest.fixture
def uri(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HANSANG_REGISTRY", f"sqlite:///{project}/mlflow.db")
    return f"sqlite:///{project}/mlflow.db"


def models(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(build(["models"]), ["models", *words])
    assert done.exit_code == status, f"{done.output}\n{done.exception!r}"
    return str(done.output)


def test_versions_are_listed_with_their_aliases_and_what_happened_to_them(uri: str) -> None:
    registry = open_registry(uri)
    move_alias(registry, "steps", "2", why="better", alias="challenger", who="ann")
    registry.set_tag("steps", "4", REFUSED, json.dumps({"reason": "golden request 1", "when": "2026-11-24T08:00:00Z"}))
    try:
        rows = [line.split() for line in models("list", "steps").splitlines()]
        found = [json.loads(line) for line in models("list", "--json").splitlines()]
    finally:
        move_alias(registry, "steps", None, why="again", alias="challenger")
        registry.delete_tag("steps", "4", REFUSED)
    assert rows[0] == ["model", "version", "aliases", "created", "state", "description"]
    assert [row[1] for row in rows[1:]] == ["4", "3", "2", "1"]
    assert (rows[1][-1], rows[3][2], rows[4][2]) == ("refused", "challenger", "champion")
    assert [(each["model"], each["version"]) for each in found][:5] == [
        *(("others", str(n)) for n in (4, 3, 2, 1)),
        ("steps", "4"),
    ]
    assert found[4]["refused"]["reason"] == "golden request 1"
    assert (found[6]["rollout"]["who"], found[6]["rollout"]["why"]) == ("ann", "better")


def test_a_version_is_shown_with_schema_files_and_golden_requests(uri: str) -> None:
    said = models("show", "steps")
    for words in ("steps version 1", "champion", "number, 64-bit float", '{"x":1.5}', "model.onnx", "golden requests"):
        assert words in said
    found = json.loads(models("show", "models:/steps@champion", "--json"))
    assert found["golden"] == {"requests": 1, "fault": None}
    assert found["manifest"]["there"] is False
    assert found["schema"]["input"]["properties"]["x"]["type"] == "number"
    assert {each["name"] for each in found["files"]} >= {"MLmodel", "model.onnx", "golden.jsonl", "requirements.txt"}
    assert found["bytes"] == sum(each["bytes"] for each in found["files"])


def test_a_folder_and_a_bare_file_are_shown_too(uri: str, project: Path) -> None:
    assert json.loads(models("show", str(project / "2"), "--json"))["example"] == {"x": 1.5}
    found = json.loads(models("show", str(project / "2" / "model.onnx"), "--json"))
    assert [each["name"] for each in found["files"]] == ["model.onnx"] and found["schema"] is None


def test_versions_that_break_nobody_differ_in_what_they_are_made_of(uri: str) -> None:
    assert "breaks no client" in models("diff", "steps/1", "2")
    found = json.loads(models("diff", "steps/1", "2", "--json"))
    assert (found["breaks"], found["schema"]) == (False, [])
    assert found["dependencies"] == {"onnxruntime": ["==1.20", "==1.21"]}
    assert set(found["files"]) == {"golden.jsonl", "model.onnx", "requirements.txt"}
    assert found["files"]["golden.jsonl"][1] is None


def test_a_renamed_input_breaks_the_clients_and_is_named(uri: str) -> None:
    assert "breaks the clients: input 'x' renamed to 'other' (double)" in models("diff", "steps", "3", status=1)
    (change,) = json.loads(models("diff", "steps", "3", "--json", status=1))["schema"]
    assert (change["field"], change["breaks"]) == ("x", True)


def test_a_good_version_is_verified_with_another_and_with_a_service(uri: str, project: Path) -> None:
    said = models("verify", "steps/2", "--with", "1", "--service", str(project / "service.py"))
    assert "compatible with steps version 1" in said and "compatible with steps, steps" in said
    assert "failed" not in said


@pytest.mark.parametrize(
    ("words", "check", "said"),
    [
        (["steps/4"], "golden requests", "y: expected 1002.0, got 4002"),
        (["steps/3", "--with", "1"], "compatible with steps version 1", "it needs the input 'other'"),
    ],
)
def test_a_version_that_must_not_answer_fails_with_its_reason(
    uri: str, words: list[str], check: str, said: str
) -> None:
    assert said in " ".join(models("verify", *words, status=1).split())
    found = json.loads(models("verify", *words, "--json", status=1))
    failed = [each for each in found["checks"] if each["passed"] is False]
    assert found["passed"] is False
    assert [each["check"] for each in failed] == [check] and said in failed[0]["said"]


def test_a_version_that_needs_what_a_service_does_not_give_fails(uri: str, project: Path) -> None:
    said = models("verify", "steps/3", "--service", str(project / "service.py"), status=1)
    assert "it needs the input 'other', which the service does not have" in " ".join(said.split())


def test_a_version_is_signed_and_its_signature_is_known_by_the_key(uri: str, tmp_path: Path) -> None:
    secret, public = make_keys(tmp_path)
    assert "manifest written, not signed: no --key" in models("sign", "steps/2")
    by = json.loads(models("sign", "steps/2", "--key", str(secret), "--json"))["signed_by"]
    assert f"signed by {by}" in models("show", "steps/2", "--signer", str(public))
    assert f"signed by {by}, not a known key" in models("show", "steps/2")
    checks = json.loads(models("verify", "steps/2", "--signer", str(public), "--json"))["checks"]
    assert [each["passed"] for each in checks[:2]] == [True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nothing"], "no model 'nothing'; the registry has: others, steps"),
        (["show", "steps/9"], "model 'steps' has no version 9; it has: 1, 2, 3, 4"),
        (["list", "nothing"], "no model 'nothing'"),
        (["verify", "others/1", "--service", "numpy:linalg"], "no service 'linalg'"),
        (["show", "7"], "no model '7': give models:/name/4"),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(uri: str, words: list[str], message: str) -> None:
    done = CliRunner().invoke(build(["models"]), ["models", *words])
    assert isinstance(done.exception, HansangError) and message in str(done.exception)


def test_a_registry_without_models_says_so(uri: str, project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "empty.db"
    with sqlite3.connect(project / "mlflow.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        for table in ("model_version_tags", "registered_model_aliases", "model_versions", "registered_models"):
            target.execute(f"DELETE FROM {table}")
    source.close()
    target.close()
    assert models("list", "--registry", f"sqlite:///{copy}") == "the registry has no versions\n"


def test_looking_does_not_import_mlflow(uri: str, tmp_path: Path) -> None:
    code = (
        "import sys; from hansang.cli.main import build; words = sys.argv[1:]\n"
        "for line in ('list', 'show steps/1', 'diff steps/1 2', 'verify steps/1'):\n"
        "    try: build(['models'])(['models', *line.split()])\n"
        "    except SystemExit as end: assert not end.code, line\n"
        "print([name for name in ('mlflow', 'pandas', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "HANSANG_REGISTRY": uri},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
