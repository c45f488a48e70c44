"""`hansang serve` that cannot start says why in a line, with status 2 (or 1 for what failed), and no traceback."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.served.running import HANSANG, SERVICES, environment, served, start
from tests.served.wire import request

SERVICE = """
from typing import Any
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict
from hansang import Batch, Model, Service

class Row(BaseModel):
    x: float

def predict(batch: Batch) -> list[Any]:
    return [row.x for row in batch.rows]
"""
GOOD = SERVICE + "service = Service('good', Model(predict), input=Row)\n"


def refused(folder: Path, *arguments: str, status: int = 2, **settings: object) -> str:
    """Start what cannot start; gives the line that says why."""
    done = start(*arguments, "--port", "0", folder=folder, **settings)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    return done.stderr.removeprefix("error: ").strip()


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return name


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_raises(tmp_path: Path, workers: int) -> None:
    line = refused(tmp_path, write(tmp_path, "x = {}['no such key']"), "--workers", str(workers))
    assert line == "mine.py cannot be loaded: KeyError: 'no such key'"


def test_a_file_that_ends_the_process(tmp_path: Path) -> None:
    assert "mine.py cannot be loaded: SystemExit: 0" in refused(tmp_path, write(tmp_path, "import sys; sys.exit(0)"))


def test_a_file_without_a_service(tmp_path: Path) -> None:
    assert refused(tmp_path, write(tmp_path, SERVICE)) == "mine.py has no Service; write `service = Service(…)` in it"


def test_a_service_without_a_graph_and_a_name_that_is_not_there(tmp_path: Path) -> None:
    assert "has no endpoint" in refused(tmp_path, write(tmp_path, SERVICE + "service = Service('bare')"))
    assert (
        refused(tmp_path, write(tmp_path, GOOD) + ":other")
        == "mine.py:other: no service 'other'; the module has: service"
    )


@pytest.mark.parametrize(
    "target", ["none.py", "no.such.module:service", "./none", "none", "none/none.onnx", ".", "", "a:b:c"]
)
def test_a_target_that_is_not_there(tmp_path: Path, target: str) -> None:
    assert "none" in refused(tmp_path, target) or target not in ("none.py", "none")


def test_a_file_that_is_not_a_model(tmp_path: Path) -> None:
    assert "notes.bin is not a model" in refused(tmp_path, write(tmp_path, "words", "notes.bin"))
    assert "broken.onnx is not an ONNX model" in refused(tmp_path, write(tmp_path, "words", "broken.onnx"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use(tmp_path: Path, workers: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = start(write(tmp_path, GOOD), "--port", str(port), "--workers", str(workers), folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: port {port} of 127.0.0.1 is in use; end the other server or take --port 0\n"


def test_an_address_that_is_not_of_this_machine(tmp_path: Path) -> None:
    assert "cannot listen on 192.0.2.1" in refused(tmp_path, write(tmp_path, GOOD), "--host", "192.0.2.1")


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    target = write(tmp_path, GOOD)
    assert "HANSANG_MAX_ROWS" in refused(tmp_path, target, max_rows="lots")
    assert "HANSANG_WORKERS" in refused(tmp_path, target, "--workers", "0")
    (tmp_path / ".env").write_text("HANSANG_KEEP_ALIVE=-1\n")
    assert "HANSANG_KEEP_ALIVE" in refused(tmp_path, target)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_wrong_value_of_the_users_own_settings_is_named_and_a_secret_is_not_told(
    tmp_path: Path, workers: int
) -> None:
    own = (
        SERVICE
        + "from pydantic import SecretStr, Field\n"
        + "class Mine(BaseSettings):\n"
        + "    model_config = SettingsConfigDict(env_prefix='SHOP_', env_file='.env', extra='ignore')\n"
        + "    limit: int = 3\n"
        + "    key: SecretStr = Field(default='k', min_length=30)\n"
        + "service = Service('mine', Model(predict), input=Row, settings=Mine)\n"
    )
    (tmp_path / ".env").write_text("SHOP_LIMIT=lots\nSHOP_KEY=hush-hush\n")
    line = refused(tmp_path, write(tmp_path, own), "--workers", str(workers))
    assert "SHOP_LIMIT" in line
    assert "SHOP_KEY" in line
    assert "hush-hush" not in line


@pytest.mark.slow
def test_a_schema_that_lacks_what_the_model_needs(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    ramp = np.arange(20.0)
    data = lightgbm.Dataset(np.stack([ramp, -ramp], axis=1), label=ramp,
                            feature_name=["x", "season"], params={"verbosity": -1, "min_data_in_leaf": 1})  # fmt: skip
    lightgbm.train({"verbosity": -1, "min_data_in_leaf": 1}, data, 2).save_model(tmp_path / "bikes.txt")
    line = refused(tmp_path, write(tmp_path, SERVICE + "service = Service('m', Model('bikes.txt'), input=Row)"))
    assert "season" in line
    assert "/predict" in line
    with served("bikes.txt", tmp_path) as server:
        assert server.ask(request('{"x":1,"season":-1}')).status == 200


def test_an_input_schema_that_is_not_an_object(tmp_path: Path) -> None:
    assert "not an object" in refused(
        tmp_path, write(tmp_path, SERVICE + "service = Service('m', Model(predict), input=float)")
    )


def test_an_example_that_does_not_fit(tmp_path: Path) -> None:
    text = SERVICE + "service = Service('m', Model(predict), input=Row, example={'x': 'no'})"
    assert "the example of /predict does not fit its schema" in refused(tmp_path, write(tmp_path, text))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resource_that_cannot_be_entered_is_a_failure(tmp_path: Path, workers: int) -> None:
    text = SERVICE + (
        "from contextlib import asynccontextmanager\n"
        "@asynccontextmanager\nasync def database():\n    raise ConnectionError('no database at db:5432')\n    yield\n"
        "service = Service('m', Model(predict), input=Row, resources=[database])\n"
    )
    line = refused(tmp_path, write(tmp_path, text), "--workers", str(workers), status=1)
    assert "ConnectionError: no database at db:5432" in line


def test_a_worker_that_is_killed_before_it_is_ready_is_a_failure(tmp_path: Path) -> None:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    assert "by signal 9" in refused(tmp_path, write(tmp_path, text), "--workers", "2", status=1)


def test_a_resource_that_cannot_be_left_is_told_and_fails(tmp_path: Path) -> None:
    text = SERVICE + (
        "from contextlib import asynccontextmanager\n"
        "@asynccontextmanager\nasync def database():\n    yield\n    raise ConnectionError('lost at the end')\n"
        "service = Service('m', Model(predict), input=Row, resources=[database])\n"
    )
    with served(write(tmp_path, text), tmp_path, status=1) as server:
        assert server.ask(request()).status == 200
    assert "lost at the end" in server.log.read_text()


# --- the registry ---


@contextmanager
def registry(answers: dict[str, object]) -> Iterator[str]:
    """An MLflow server that has no model, or the answers given."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}
            for part, given in answers.items():
                if part in self.path:
                    status, answer = 200, given  # type: ignore[assignment]  # any JSON
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_registry_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        line = refused(tmp_path, "models:/bikes@champion", registry=f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert "does not answer" in line


def test_a_registry_that_is_not_there_or_not_one(tmp_path: Path) -> None:
    assert "no registry at mlflow.db" in refused(tmp_path, "models:/bikes@champion")
    (tmp_path / "mlflow.db").write_text("words")
    assert "cannot be read" in refused(tmp_path, "models:/bikes@champion")


def test_a_registry_without_the_model(tmp_path: Path) -> None:
    with registry({"registered-models/search": {}}) as url:
        for target in ("models:/bikes@champion", "models:/bikes/3", "models:/bikes"):
            assert "bikes" in refused(tmp_path, target, registry=url)


def test_what_start_up_prints(tmp_path: Path) -> None:
    target = write(tmp_path, GOOD)
    process = subprocess.Popen(
        [HANSANG, "serve", target, "--port", "0"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert re.fullmatch(r"good: POST http://127\.0\.0\.1:\d+/predict\n", lines[0])
    assert re.fullmatch(r"  model predict \(function, \d+ ms to load\)\n", lines[1])
    assert re.fullmatch(
        r"  docs http://127\.0\.0\.1:\d+/docs, metrics http://\S+/metrics, ready in \d\.\d\d s\n", lines[2]
    )
    assert process.returncode == 0


@pytest.mark.parametrize("delay", [0.3, 0.45, 0.6])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_at_any_moment_of_the_start_ends_it(tmp_path: Path, delay: float, workers: int) -> None:
    command = [str(HANSANG), "serve", str(SERVICES / "kitchen.py"), "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    process.terminate()
    assert process.wait(15) in (0, 3, -signal.SIGTERM)
