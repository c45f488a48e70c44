"""A remote node before a server of the Open Inference Protocol, written here as the protocol says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from hansang import Batch
from hansang.errors import ModelFailed, Unavailable
from hansang.nodes.remote import Remote
from hansang.testing import on_loop
from tests.nodes.serving import asking, batch, served_app
from tests.served.ports import held

INPUTS = [
    {"name": "age", "datatype": "INT64", "shape": [-1, 1]},
    {"name": "pixels", "datatype": "FP32", "shape": [-1, 2, 2]},
    {"name": "word", "datatype": "BYTES", "shape": [-1]},
    {"name": "sure", "datatype": "BOOL", "shape": [-1]},
]
ROW = {"age": 3, "pixels": np.eye(2), "word": "한상", "sure": True}


def refuse(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)


def sized(tensor: dict[str, Any]) -> bool:
    return len(tensor["data"]) == int(np.prod(tensor["shape"]))


@asynccontextmanager
async def inference(
    path: str = "/v2/models/faces", inputs: list[dict[str, Any]] | None = None, most: int = 100, **options: Any
) -> AsyncIterator[tuple[Remote, list[dict[str, Any]]]]:
    """Serve a model whose outputs are `double` (age * 2) and `text`, and enter a remote node for it."""
    app, asked = FastAPI(), list[dict[str, Any]]()
    known = INPUTS if inputs is None else inputs

    @app.get(path)
    async def metadata() -> dict[str, Any]:
        return {"name": "faces", "versions": ["4"], "platform": "none", "inputs": known, "outputs": []}

    @app.post(path + "/infer")
    async def infer(request: Request) -> Any:
        body = await request.json()
        asked.append(body)
        tensors = {one["name"]: one for one in body["inputs"]}
        if not all(map(sized, tensors.values())):
            return refuse(400, "a tensor of another size")
        first = body["inputs"][0]
        size = first["shape"][0]
        if size > most:
            return refuse(413, "too many rows")
        if 13 in first["data"]:
            return refuse(400, "13 is not served")
        doubled = [value * 2.0 for value in first["data"]]
        outputs = [
            {"name": "double", "shape": [size, len(doubled) // size], "datatype": "FP64", "data": doubled},
            {"name": "text", "shape": [size], "datatype": "BYTES", "data": ["ja"] * size},
        ]
        return {"model_name": "faces", "model_version": "4", "outputs": outputs}

    async with served_app(app) as url, asking(url + path, **options) as node:
        yield node, asked


@on_loop
async def test_fields_are_tensors_and_outputs_are_columns() -> None:
    async with inference() as (far, asked):
        rows = batch(ROW, ROW | {"age": 5})
        answers = await far(rows)
    assert answers.rows == [{"double": 6.0, "text": "ja"}, {"double": 10.0, "text": "ja"}]
    assert asked == [
        {
            "inputs": [
                {"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [3, 5]},
                {"name": "pixels", "shape": [2, 2, 2], "datatype": "FP32", "data": [1.0, 0.0, 0.0, 1.0] * 2},
                {"name": "word", "shape": [2], "datatype": "BYTES", "data": ["한상", "한상"]},
                {"name": "sure", "shape": [2], "datatype": "BOOL", "data": [True, True]},
            ]
        }
    ]
    (step,) = rows.calls[0].trail
    assert (step.node, step.model, step.version, step.rows) == ("faces", "faces", "4", 2)


@on_loop
async def test_a_version_may_be_named() -> None:
    async with inference("/v2/models/faces/versions/4", [], name="mine") as (far, _):
        assert (await far(batch({"age": 2}))).rows == [{"double": 4.0, "text": "ja"}]
        assert far.label == "mine"


@on_loop
async def test_one_tensor_takes_the_fields_as_its_columns_and_rows_without_fields_as_they_are() -> None:
    one = [{"name": "predict", "datatype": "FP32", "shape": [-1, 2]}]
    async with inference(inputs=one) as (far, asked):
        answers = await far(Batch.of_columns({"a": np.arange(3), "b": np.ones(3)}))
        assert answers.whole is not None
        assert answers.whole["double"].tolist() == [[0.0, 2.0], [2.0, 2.0], [4.0, 2.0]]
        await far(batch(np.array([1.5, 2.5]), np.array([3.5, 4.5])))
    assert [body["inputs"][0]["data"] for body in asked] == [[0.0, 1.0, 1.0, 1.0, 2.0, 1.0], [1.5, 2.5, 3.5, 4.5]]
    assert {body["inputs"][0]["name"] for body in asked} == {"predict"}


@on_loop
async def test_a_server_that_names_no_inputs_gets_the_fields_as_they_are() -> None:
    async with inference(inputs=[]) as (far, asked):
        await far(batch({"a": 1.5, "b": 7}))
    assert [(one["name"], one["datatype"], one["shape"]) for one in asked[0]["inputs"]] == [
        ("a", "FP64", [1]),
        ("b", "INT64", [1]),
    ]


@on_loop
async def test_one_bad_row_does_not_fail_its_neighbours() -> None:
    one = [{"name": "age", "datatype": "INT64", "shape": [-1]}]
    async with inference(inputs=one) as (far, asked):
        refused, text, fraction, good = (await far(batch({"age": 13}, {"age": "x"}, {"age": 1.5}, {"age": 2}))).rows
        assert good["double"] == 4.0
        for outcome, said in ((refused, "13 is not served"), (text, "INT64"), (fraction, "INT64")):
            assert type(outcome) is ModelFailed
            assert said in str(outcome)
        requests = len(asked)
        outcomes = (await far(batch(*[{"age": 13}] * 64))).rows
        assert {type(outcome) for outcome in outcomes} == {ModelFailed}
        assert len(asked) - requests < 30, "a server that takes no row is not asked about each"


@on_loop
async def test_a_number_that_json_has_not_fails_its_row_alone() -> None:
    async with inference(inputs=[{"name": "age", "datatype": "FP32", "shape": [-1]}]) as (far, _):
        good, bad = (await far(batch({"age": 1.0}, {"age": float("nan")}))).rows
    assert good["double"] == 2.0
    assert type(bad) is ModelFailed


@on_loop
async def test_a_batch_that_is_too_large_is_cut() -> None:
    async with inference(inputs=[], most=3) as (far, asked):
        answers = await far(batch(*[{"age": n} for n in range(10)]))
        assert [row["double"] for row in answers.rows] == [2.0 * n for n in range(10)]
        assert max(body["inputs"][0]["shape"][0] for body in asked[4:]) <= 3


@on_loop
async def test_a_model_that_is_not_there_yet_is_asked_again_when_rows_come(unused: int) -> None:
    async with asking(f"http://127.0.0.1:{unused}/v2/models/faces", breaker=None, retries=0) as far:
        assert type((await far(batch(ROW))).rows[0]) is Unavailable
        assert await far.far.check() != "ok"
    async with inference() as (far, _):
        assert (await far(batch(ROW))).failed == 0
    await asyncio.sleep(0)


@pytest.fixture
def unused() -> Iterator[int]:
    with held() as ports:
        yield ports[0]
