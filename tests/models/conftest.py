"""Real models, logged once by mlflow in a process of its own, and a real MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hansang.models.artifact import Artifact
from hansang.models.uri import resolve

ZOO = Path(__file__).with_name("zoo.py")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "HANSANG_")) and name != "MLFLOW_DISABLE_TELEMETRY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def zoo(task: str, folder: Path, tracking: str = "") -> None:
    env = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": tracking}
    command = [sys.executable, str(ZOO), task, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with `mlflow.db` and models of each kind."""
    folder = tmp_path_factory.mktemp("project")
    zoo("registry", folder, "sqlite:///mlflow.db")
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bare model files."""
    folder = tmp_path_factory.mktemp("files")
    zoo("files", folder)
    return folder


@pytest.fixture(scope="session")
def registry(project: Path) -> str:
    return f"sqlite:///{project}/mlflow.db"


@pytest.fixture
def model(registry: str) -> Callable[[str], Artifact]:
    """Resolve a name of the project's registry."""
    return lambda name: resolve(f"models:/{name}", registry=registry)


class Server:
    """An MLflow server that keeps its artifacts to itself; only its own process group is ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "./artifacts"]
        command = [sys.executable, "-m", "mlflow", "server", *options, "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **QUIET}, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 50
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return True
        except OSError:
            return False

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server with two versions of the model `linear`."""
    found = Server(tmp_path_factory.mktemp("server"))
    try:
        found.start()
        zoo("server", found.folder, found.uri)
        yield found
    finally:
        found.end()


@pytest.fixture
def server(lasting_server: Server) -> Server:
    """The server, started again if a test has killed it."""
    if lasting_server.process.poll() is not None:
        lasting_server.start()
    return lasting_server
