"""What an operator sees: one file of JSON lines from all processes, each line with its request, and access lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hansang.logs.config import DEFAULT
from tests.served.running import served, start, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "order-7"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "logging.toml"
    path.write_text(DEFAULT.read_text().replace('handlers = ["console"]', 'handlers = ["console", "file"]'))
    return path


def lines(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    path = folder / "logs" / "hansang.log"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if all(line.get(name) == value for name, value in wanted.items())]


def test_lines_of_the_users_code_in_nodes_and_routes_name_their_request(tmp_path: Path, config: Path) -> None:
    with served("logging_service.py", tmp_path, log_config=config) as server, server.client() as client:
        assert client.post("/predict", json={"n": 1}, headers=HEADERS).status_code == 200
        plain = client.post("/predict", json={"n": 2})
        failed = client.post("/predict", json={"n": -1})
        assert client.get("/stock", headers=HEADERS).status_code == 200
        assert client.get("/stock").status_code == 200
        lost = client.get("/nowhere")
    named, other, below = (lines(tmp_path, logger="shop", message=f"adding {n}")[0] for n in (1, 2, -1))
    assert (named["request_id"], named["trace_id"]) == ("order-7", TRACE)
    assert other["request_id"] == plain.headers["x-prediction-id"]
    (error,) = lines(tmp_path, level="ERROR")
    assert below["request_id"] == error["request_id"] == failed.json()["request_id"]
    assert (error["error"], error["process"]) == ("ValueError", "server")
    first, second = lines(tmp_path, message="in the route")
    assert (first["request_id"], first["trace_id"]) == ("order-7", TRACE)
    assert len(second["request_id"]) == 36
    assert lost.json()["request_id"] == lost.headers["x-prediction-id"]
    assert not lines(tmp_path, logger="hansang.access")
    assert f"shop [{server.process.pid}] adding 1 request=order-7 trace={TRACE}\n" in server.log.read_text()


def test_the_access_log_has_every_request_of_all_workers(tmp_path: Path, config: Path) -> None:
    more: dict[str, Any] = {
        "log_config": config,
        "access_log": True,
        "workers": 2,
        "log_level": "warning,hansang.access=info",
    }
    with served("logging_service.py", tmp_path, **more) as server:
        for number in range(20):
            with server.client() as client:
                assert client.post("/predict", json={"n": number}, headers=HEADERS).status_code == 200
        with server.client() as client:
            assert client.post("/predict", content=b"{").status_code == 400
            assert client.get("/stock").status_code == 200
            assert client.get("/nowhere").status_code == 404
            until(lambda: lines(tmp_path, path="/nowhere"))
        answer = server.ask(b"NONSENSE\r\n\r\n")
        assert answer.status == 400
    found = lines(tmp_path, logger="hansang.access")
    assert [line["status"] for line in found if line["path"] == "/predict"] == [200] * 20 + [400]
    assert {line["process"] for line in found} <= {"worker-0", "worker-1"}
    assert sorted(line["status"] for line in found if line["path"] != "/predict") == [200, 400, 404]
    good = next(line for line in found if line["path"] == "/predict")
    assert (good["method"], good["request_id"], good["trace_id"]) == ("POST", "order-7", TRACE)
    assert good["client"].startswith("127.0.0.1:")
    assert 0 < good["seconds"] < 5
    assert good["size"] > 5
    assert not lines(tmp_path, logger="shop")


def test_the_compactor_logs_where_the_server_does(tmp_path: Path, config: Path) -> None:
    spool = tmp_path / ".hansang/records/spool"
    with served("logging_service.py", tmp_path, log_config=config) as server:
        assert server.ask(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").status == 200
        with server.client() as client:
            assert client.post("/predict", json={"n": 1}).status_code == 200
        (segment,) = spool.glob("*/*.open") if list(spool.glob("*/*.open")) else spool.glob("*.open")
        data = bytearray(segment.read_bytes())
        data[-8] ^= 1
        segment.write_bytes(data)
    (line,) = lines(tmp_path, process="compactor")
    assert line["logger"] == "hansang.record"
    assert "is damaged: at least 1 rows are lost" in line["message"]


def test_a_wrong_configuration_ends_the_start_with_its_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "logging.yaml").write_text("version: 1\nroot: {level: LOUD}\n")
    done = start("logging_service.py", "--log-config", "logging.yaml", folder=tmp_path)
    assert done.returncode == 2
    said = "root.level: 'LOUD' is no level; there are debug, info, warning, error, critical and notset"
    assert done.stderr == f"error: the logging configuration {tmp_path}/logging.yaml: {said}\n"
