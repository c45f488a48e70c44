"""`service.app` in any ASGI server and in any test client."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.middleware.gzip import GZipMiddleware
from pydantic import BaseModel, field_validator

from hansang import Batch, Model, Problem, Service
from hansang.server.app import bypassable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette would rather have httpx2
    from fastapi.testclient import TestClient


class Row(BaseModel):
    x: float

    @field_validator("x")
    @classmethod
    def _fragile(cls, value: float) -> float:
        if value == 13.0:
            raise KeyError("a bug in a validator")
        return value


class Short(Problem):
    status = 402
    title = "Payment Required"


def predict(batch: Batch) -> list[Any]:
    return [Short("pay first") if row.x < 0 else 2.0 * row.x for row in batch.rows]


def make() -> Service:
    return Service("plain", Model(predict), input=Row, output=float, example={"x": 1.0})


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANSANG_MAX_BODY", "2000")


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make().app, raise_server_exceptions=False) as client:
        yield client


def test_a_test_client_gets_the_same_answers(client: TestClient) -> None:
    one = client.post("/predict", json={"x": 2}, headers={"x-request-id": "me"})
    assert (one.status_code, one.json(), one.headers["x-request-id"]) == (200, 4.0, "me")
    many = client.post("/predict", json=[{"x": 1}, {"x": "no"}, {"x": -1}])
    assert many.status_code == 207
    assert many.json()[0] == 2.0
    assert [many.json()[n]["error"]["status"] for n in (1, 2)] == [422, 402]
    assert client.post("/predict", json={"x": -1}).json()["detail"] == "pay first"


def test_the_limit_of_a_body_holds_everywhere(client: TestClient) -> None:
    assert client.post("/predict", content=b" " * 3000).status_code == 413


def test_a_validator_that_fails_is_a_fault_of_the_server(client: TestClient) -> None:
    answer = client.post("/predict", json={"x": 13})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "a bug in a validator" not in answer.text


def test_an_application_that_is_not_started_says_what_to_do() -> None:
    answer = TestClient(make().app).post("/predict", json={"x": 1})
    assert answer.status_code == 503
    assert "lifespan=service.lifespan" in answer.json()["detail"]


def test_an_application_starts_again_after_it_ended() -> None:
    service = make()
    for _ in range(2):
        with TestClient(service.app) as client:
            assert client.post("/predict", json={"x": 2}).json() == 4.0
            assert client.get("/readyz").json()["ready"]
        assert TestClient(service.app).post("/predict", json={"x": 2}).status_code == 503


def test_requests_that_come_together_are_batched() -> None:
    sizes: list[int] = []

    def count(batch: Batch) -> list[Any]:
        sizes.append(len(batch))
        time.sleep(0.005)
        return [row.x for row in batch.rows]

    service = Service("batched", Model(count), input=Row)

    async def main() -> list[Any]:
        app = service.app
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answers = await asyncio.gather(*(client.post("/predict", json={"x": n}) for n in range(20, 50)))
        return [answer.json() for answer in answers]

    assert asyncio.run(main()) == [float(n) for n in range(20, 50)]
    assert max(sizes) > 1


def test_the_document_describes_what_the_models_say_even_when_it_was_asked_for_too_early() -> None:
    service = make()
    early = service.app.openapi()
    assert "requestBody" not in early["paths"].get("/predict", {}).get("post", {})
    with TestClient(service.app) as client:
        document = client.get("/openapi.json").json()
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"]["one"]["value"] == {"x": 1.0}
    assert document["components"]["schemas"]["Row"]["required"] == ["x"]


def test_an_overridden_dependency_or_a_handler_takes_predictions_off_the_fast_path() -> None:
    def middleware(app: FastAPI) -> None:
        app.add_middleware(GZipMiddleware)

    def handler(app: FastAPI) -> None:
        app.add_exception_handler(KeyError, lambda request, error: Response())

    def override(app: FastAPI) -> None:
        app.dependency_overrides[make] = make

    for change in (middleware, handler, override):
        service = make()
        assert bypassable(service.app)
        change(service.app)
        assert not bypassable(service.app)


class Odd(Problem):
    status = 200


class Later(Problem):
    status = 299


@pytest.mark.parametrize(
    "error",
    [
        Odd("fine"),
        Later("later"),
        Short("x", headers={"x-a": "1\r\nset-cookie: eve"}),
        Short("x", headers={"x a": "1"}),
        Short("x", headers={"x-a": "\u2603"}),
        Short("x", retry_after=float("nan")),
        Short("x", errors=[{"loc": [object()]}]),
    ],
)
def test_a_problem_that_http_cannot_say_is_a_failure_and_its_neighbours_are_answered(error: Problem) -> None:
    service = Service("odd", lambda batch: [error if row.x < 0 else row.x for row in batch.rows], input=Row)
    with TestClient(service.app) as client:
        answer = client.post("/predict", json={"x": -1})
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "set-cookie" not in answer.headers
        assert client.post("/predict", json={"x": 1}).json() == 1.0
