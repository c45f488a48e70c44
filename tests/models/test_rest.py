from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.models.registries.rest import RestRegistry, credentials, safe_name
from hansang.models.runtime import load_runtime
from hansang.models.uri import locate, resolve
from tests.models.conftest import Server

pytestmark = pytest.mark.timeout(120)


def test_a_model_on_a_server_is_fetched_once_and_kept_by_its_id(server: Server, tmp_path: Path) -> None:
    found = resolve("models:/linear", registry=server.uri, cache=tmp_path)
    assert (found.name, found.version, found.aliases) == ("linear", "1", ("champion",))
    assert found.path == tmp_path / str(found.model_id)
    assert found.example and found.signature
    assert load_runtime(found).name == "sklearn"
    marker = found.path / "requirements.txt"
    before = marker.stat().st_mtime_ns
    again = resolve("models:/linear/1", registry=server.uri, cache=tmp_path)
    assert again.path == found.path and marker.stat().st_mtime_ns == before
    assert not list(tmp_path.glob(".part-*"))


def test_each_form_of_uri_works_over_http(server: Server, tmp_path: Path) -> None:
    first = resolve("models:/linear/1", registry=server.uri, cache=tmp_path)
    by_id = resolve(f"models:/{first.model_id}", registry=server.uri, cache=tmp_path)
    by_run = resolve(f"runs:/{first.run_id}/model", registry=server.uri, cache=tmp_path)
    assert by_id.digest == by_run.digest == first.digest
    latest = locate("models:/linear/latest", registry=server.uri)
    assert (latest.version, latest.aliases) == ("2", ("challenger",))
    assert locate("models:/linear@challenger", registry=server.uri).version == "2"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/digit", "no model 'digit'; the registry has: faces, linear"),
        ("models:/linear@next", r"model 'linear' has no alias 'next'; it has: challenger \(2\), champion \(1\)"),
        ("models:/faces", "model 'faces' has no alias 'champion'; it has none"),
        ("models:/linear/9", "model 'linear' has no version 9; it has: 1, 2"),
        ("models:/faces/latest", "model 'faces' has no versions"),
        (f"models:/m-{'0' * 32}", "no logged model"),
        ("runs:/nope/model", "no run 'nope'"),
    ],
)
def test_what_is_missing_on_a_server_is_said_with_what_there_is(server: Server, uri: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message):
        resolve(uri, registry=server.uri)


# --- servers that misbehave ---


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path as the test says, and keeps what it was asked."""

    answers: dict[str, tuple[int, bytes]]
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0].removeprefix("/api/2.0/")
        status, body = self.answers.get(self.path, self.answers.get(path, (404, b"<html>")))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Fake:
    """A server of HTTP answers, for what a real MLflow server would never do."""

    def __init__(self) -> None:
        self.handler: Any = type("Bound", (Handler,), {"answers": {}, "seen": []})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"

    def say(self, path: str, answer: Any, status: int = 200) -> None:
        self.handler.answers[path] = (status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def version(self, location: str, source: str = "models:/m-" + "1" * 32) -> None:
        found = {"name": "x", "version": "1", "source": source, "status": "READY"}
        self.say("mlflow/model-versions/get", {"model_version": found})
        self.say("mlflow/model-versions/get-download-uri", {"artifact_uri": location})


@pytest.fixture
def fake() -> Iterator[Fake]:
    found = Fake()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["../evil", "..", "/etc/passwd", "a\\b", "", "C:x"])
def test_a_file_name_that_leaves_its_folder_is_refused(fake: Fake, tmp_path: Path, name: str) -> None:
    fake.version("mlflow-artifacts:/1/x")
    fake.say("mlflow-artifacts/artifacts", {"files": [{"path": name, "is_dir": False, "file_size": 1}]})
    with pytest.raises(ModelError, match="a file with an unsafe name"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_comes_short_leaves_nothing_behind(fake: Fake, tmp_path: Path) -> None:
    fake.version("mlflow-artifacts:/1/x")
    fake.say("mlflow-artifacts/artifacts", {"files": [{"path": "MLmodel", "is_dir": False, "file_size": 99}]})
    fake.say("mlflow-artifacts/artifacts/1/x/MLmodel", b"flavors: {}")
    with pytest.raises(RegistryUnavailable, match="MLmodel of 'x' came with 11 of 99 bytes"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_without_end_are_refused(fake: Fake, tmp_path: Path) -> None:
    fake.version("mlflow-artifacts:/1/x")
    fake.say("mlflow-artifacts/artifacts", {"files": [{"path": "deep", "is_dir": True}]})
    with pytest.raises(ModelError, match="folders too deep"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)


def test_no_files_and_files_elsewhere_are_said(fake: Fake, tmp_path: Path) -> None:
    fake.say("mlflow-artifacts/artifacts", {})
    fake.version("mlflow-artifacts:/1/x")
    with pytest.raises(ModelNotFound, match="the registry has no files for 'x'"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)
    fake.version("mlflow-artifacts://other:1/1/x")
    with pytest.raises(ModelError, match="on another server, other:1; set MLFLOW_TRACKING_URI to it"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)
    fake.version("/srv/none")
    with pytest.raises(ModelNotFound, match="start it with --serve-artifacts"):
        resolve("models:/x/1", registry=fake.uri, cache=tmp_path)


def test_files_in_place_are_used_in_place(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}")
    fake.version(f"file://{tmp_path}", source=str(tmp_path))
    found = resolve("models:/x/1", registry=fake.uri, cache=tmp_path / "cache")
    assert found.path == tmp_path
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "does not answer like an MLflow server"),
        (200, b"[]", "does not answer like an MLflow server"),
        (500, b"oops", r"does not answer like an MLflow server \(HTTP 500\)"),
        (401, b"", r"refuses the credentials \(HTTP 401\); set MLFLOW_TRACKING_USERNAME"),
        (403, b"", "refuses the credentials"),
    ],
)
def test_a_server_that_is_not_mlflow_or_refuses_is_said(fake: Fake, status: int, body: bytes, message: str) -> None:
    fake.say("mlflow/model-versions/get", body, status)
    with pytest.raises(RegistryUnavailable, match=message):
        locate("models:/x/1", registry=fake.uri)


def test_credentials_are_sent_as_mlflow_sends_them(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials() == ""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert credentials() == "Bearer secret"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
    fake.version("/x")
    locate("models:/x/1", registry=fake.uri)
    assert {seen[1] for seen in fake.handler.seen} == {"Basic YW5uOnB3"}


def test_credentials_do_not_follow_a_redirect_to_another_host(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    other = Fake()
    threading.Thread(target=other.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def redirect(self: Handler) -> None:
        self.send_response(302)
        self.send_header("Location", other.uri + "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    fake.handler.do_GET = redirect
    with pytest.raises(RegistryUnavailable):
        locate("models:/x/1", registry=fake.uri)
    assert [seen[1] for seen in other.handler.seen] == [None]
    other.server.shutdown()
    other.server.server_close()


def test_a_server_that_never_answers_runs_into_the_time_limit(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = RestRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        with pytest.raises(RegistryUnavailable, match="does not answer: .*timed out"):
            registry._get("mlflow/registered-models/get", name="x")


def test_plain_names_are_safe() -> None:
    assert safe_name("model.skops") == "model.skops"


def test_a_killed_server_leaves_the_version_that_was_last_resolved(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = resolve("models:/linear", registry=server.uri, cache=tmp_path)
    server.end()
    found = resolve("models:/linear", registry=server.uri, cache=tmp_path)
    assert (found.version, found.digest) == (before.version, before.digest)
    assert "does not answer" in caplog.text and "serving linear version 1 from" in caplog.text
    with pytest.raises(RegistryUnavailable, match=r"the registry at 127.0.0.1:\d+ does not answer: .*; start it"):
        resolve("models:/linear@challenger", registry=server.uri, cache=tmp_path)
    with pytest.raises(RegistryUnavailable):
        resolve("models:/linear", registry=server.uri, cache=tmp_path / "empty")
