"""A managed model in a real server, under load."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from hansang.models.registry import Registry
from hansang.models.uri import open_registry
from tests.models.steps import FAULTS
from tests.served.load import Load
from tests.served.running import Server, served, until


def workers(server: Server) -> list[dict[str, Any]]:
    """Give what each worker has of the model."""
    found: list[dict[str, Any]] = server.get("/metadata").json()["workers"]
    return [model for worker in found for model in worker["models"]]


def table(server: Server, query: str) -> list[Any]:
    """Ask the record."""
    return [json.loads(line) for line in server.records(query).splitlines()]


def move(server: Server, registry: Registry, version: str, count: int = 1) -> None:
    """Move the champion, and wait until every worker has it."""
    registry.set_alias("steps", "champion", version)
    until(lambda: [worker["version"] for worker in workers(server)] == [version] * count)


@pytest.mark.slow
def test_ten_swaps_under_load_lose_no_answer_and_no_answer_is_of_another_version(
    steps_copy: str, tmp_path: Path
) -> None:
    registry = open_registry(steps_copy)
    with served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.05) as server:
        with Load(server.port) as load:
            for number in range(10):
                move(server, registry, str(number % 4 + 2))
        assert load.faults == []
        assert load.answers.keys() == {"1", "2", "3", "4", "5"}
        swaps = server.metrics("hansang_model_swaps_total")
        assert sum(swaps.values()) == 10
        rows = table(server, "SELECT version, count(*) AS n FROM predictions GROUP BY 1")
        assert {row["version"]: row["n"] for row in rows} == dict(load.answers)
        made = "cast(output->>'y' AS double) - cast(input->>'x' AS double)"
        wrong = f"SELECT count(*) AS n FROM predictions WHERE {made} != 1000 * cast(version AS int)"
        assert table(server, wrong) == [{"n": 0}]


def test_a_refused_version_is_shown_everywhere_and_harms_nobody(steps_copy: str, tmp_path: Path) -> None:
    registry = open_registry(steps_copy)
    bad = str(FAULTS["golden"])
    with (
        served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.05) as server,
        Load(server.port, 4) as load,
    ):
        registry.set_alias("steps", "champion", bad)
        until(lambda: workers(server)[0]["refused"])
        refused = workers(server)[0]["refused"]
        assert refused["version"] == bad and "golden request 1" in refused["reason"]
        assert server.metrics("hansang_model_swaps_total")['{model="steps",outcome="refused"}'] == 1
        assert server.get("/readyz").status_code == 200
        assert "golden request 1" in registry.tags("steps", bad)["hansang.refused"]
    assert load.faults == [] and load.answers.keys() == {"1"}


SECRET = "between us"


def deliver(server: Server, document: Any, *, secret: str = SECRET, stamp: float | None = None) -> httpx.Response:
    """Send a webhook as MLflow does."""
    body = json.dumps(document)
    stamp = int(time.time() if stamp is None else stamp)
    signed = hmac.digest(secret.encode(), f"id-1.{stamp}.{body}".encode(), "sha256")
    headers = {
        "x-mlflow-delivery-id": "id-1",
        "x-mlflow-timestamp": str(stamp),
        "x-mlflow-signature": "v1," + base64.b64encode(signed).decode(),
        "content-type": "application/json",
    }
    return httpx.post(f"{server.url}/registry/webhook", content=body, headers=headers, trust_env=False)


MOVED = {"entity": "model_version_alias", "action": "created", "data": {"name": "steps", "alias": "champion"}}


@pytest.mark.slow
def test_a_webhook_makes_every_worker_look_at_once(steps_copy: str, tmp_path: Path) -> None:
    registry = open_registry(steps_copy)
    options: dict[str, Any] = {"registry": steps_copy, "registry_poll": 600, "registry_webhook_secret": SECRET}
    with served("models:/steps", tmp_path, workers=2, **options) as server:
        until(lambda: [worker["version"] for worker in workers(server)] == ["1", "1"])
        polls = "hansang_registry_polls_total"
        until(lambda: server.metrics(polls).get('{model="steps",outcome="ok"}') == 2)
        registry.set_alias("steps", "champion", "2")
        answer = deliver(server, MOVED)
        assert (answer.status_code, answer.json()) == (202, {"model": "steps", "polled": True})
        until(lambda: [worker["version"] for worker in workers(server)] == ["2", "2"])
        live = server.metrics("hansang_model_live")
        assert live == {'{model="steps",version="1"}': 0, '{model="steps",version="2"}': 2}
        assert deliver(server, MOVED | {"data": {"name": "others"}}).json()["polled"] is False
        assert deliver(server, MOVED | {"entity": "prompt"}).json()["polled"] is False


def test_a_webhook_that_mlflow_did_not_sign_is_refused(steps_copy: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"registry": steps_copy, "registry_poll": 600, "registry_webhook_secret": SECRET}
    with served("models:/steps", tmp_path, **options) as server:
        assert deliver(server, MOVED, secret="guessed").status_code == 403
        assert deliver(server, MOVED, stamp=time.time() - 400).status_code == 403
        assert deliver(server, [1]).status_code == 400
        naked = httpx.post(f"{server.url}/registry/webhook", json=MOVED, trust_env=False)
        assert naked.status_code == 403 and "the webhook's signature is wrong" in naked.json()["detail"]


def test_without_a_secret_there_is_no_webhook(steps_copy: str, tmp_path: Path) -> None:
    with served("models:/steps@champion", tmp_path, registry=steps_copy) as server:
        answer = deliver(server, MOVED)
        assert answer.status_code == 404 and "HANSANG_REGISTRY_WEBHOOK_SECRET" in answer.json()["detail"]
        found = server.get("/metadata").json()
        assert found["models"][0]["managed"] is False and found["workers"][0]["models"] == []


KITCHEN = """
from hansang import Model, Service

service = Service("kitchen", Model("models:/steps"), input=dict[str, float])
"""

FRONT = """
from hansang import Service, remote

service = Service("front", remote("http://127.0.0.1:{port}/nodes/steps"), input=dict[str, float])
"""


@pytest.mark.slow
def test_a_model_behind_a_remote_node_is_followed_where_it_runs(steps_copy: str, tmp_path: Path) -> None:
    registry = open_registry(steps_copy)
    for name in ("kitchen", "front"):
        (tmp_path / name).mkdir()
    (tmp_path / "kitchen.py").write_text(KITCHEN)
    options: dict[str, Any] = {"registry": steps_copy, "registry_poll": 0.05, "node": "steps"}
    with served(tmp_path / "kitchen.py", tmp_path / "kitchen", **options) as kitchen:
        (tmp_path / "front.py").write_text(FRONT.format(port=kitchen.port))
        with served(tmp_path / "front.py", tmp_path / "front") as front, Load(front.port, 4) as load:
            until(lambda: load.answers["1"])
            move(kitchen, registry, "2")
            until(lambda: load.answers["2"])
        assert load.faults == []
