"""Fields that a record does not hold as they came: counted and named, never replayed as if they were real."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from hansang import Service
from hansang.replay import load, replay
from hansang.replay.altered import altered_fields, of_openapi
from hansang.target import load_target
from tests.replay.conftest import NOON, SHARED, Write
from tests.served.running import served

PRIVATE = Path(__file__).parent / "private.py"
SECRET = "a secret of the tests"
HASH = "hash:" + "0" * 32
ROWS: tuple[dict[str, Any], ...] = (
    {"km": 1},
    {"km": 2, "phone": HASH},
    {"km": 3, "owner": {"name": "**im"}},
    {"km": 4, "phone": None, "owner": None, "note": "by train"},
)
REASONS = {
    "the record does not hold the field phone as it came (hash)": 1,
    "the record does not hold the field owner as it came (in part: mask:2)": 1,
}
FIELDS = {"phone": "hash", "owner": "in part: mask:2", "photo": "upload"}


@pytest.fixture
def private(write: Write) -> None:
    for number, row in enumerate(ROWS):
        write(
            [0],
            NOON + number / 100,
            inputs=[json.dumps(row).encode()],
            outputs=[json.dumps({"minutes": 3 * row["km"], "driver": HASH}).encode()],
            shared=replace(SHARED, service="private"),
        )


async def description(service: Service) -> Any:
    transport = httpx.ASGITransport(service.app)
    async with service.lifespan(service.app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get("/openapi.json")).json()


def test_offline_rows_with_such_a_field_are_named_and_answers_are_compared_without(folder: Path, private: None) -> None:
    found = replay(str(PRIVATE), folder, processes=1).document()
    assert (found["replayed"], found["not_replayed"]) == (2, REASONS)
    assert found["fields_not_compared"] == {"driver": "hash"}
    assert (found["changed"], list(found["fields"])) == (0, ["minutes"])


def test_a_field_that_the_model_does_not_need_can_be_accepted(folder: Path, private: None) -> None:
    found = replay(str(PRIVATE), folder, processes=1, accept=("phone", "owner")).document()
    assert (found["replayed"], found["not_replayed"], found["changed"]) == (4, {}, 0)


def test_as_load_the_server_says_which_fields_they_are(folder: Path, private: None, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with served(PRIVATE, tmp_path / "served", record_key=SECRET) as server:
        found = load("private", server.url, folder).document()
    assert (found["statuses"], found["not_replayed"]) == ({"200": 2}, REASONS)
    assert (found["changed"], found["fields_not_compared"]) == (0, {"driver": "hash"})


def test_a_hash_is_known_without_any_schema(folder: Path, write: Write) -> None:
    write([0], inputs=[json.dumps({"km": 1, "city": HASH}).encode()])
    found = replay(str(Path(__file__).parent / "rides.py"), folder, processes=1).document()
    assert found["not_replayed"] == {"a field in the input was hashed before it was recorded": 1}


def test_the_schema_of_the_process_and_of_the_server_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSANG_RECORD_KEY", SECRET)
    service = load_target(str(PRIVATE))
    schema = service.endpoints[0].reader.json_schema()
    assert altered_fields(schema, schema) == FIELDS
    rows, predictions = of_openapi(asyncio.run(description(service)), "/predict")
    assert {name: how for name, how in rows.items() if name != "photo"} == {
        name: how for name, how in FIELDS.items() if name != "photo"
    }
    assert predictions == {"driver": "hash"}


def test_choices_and_paths_say_how_a_field_is_altered() -> None:
    schema = {
        "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "string", "x-hansang-policy": "drop"}]}, "b": {}}
    }
    assert altered_fields(schema, schema) == {"a": "drop"}
    assert altered_fields(schema, schema, {"b.c": "hash", "z": "drop"}) == {"a": "drop", "b": "in part: hash"}
    assert altered_fields(schema, schema, accepted=["a"]) == {}
    assert of_openapi(None, "/predict") == of_openapi({"paths": {}}, "/predict") == ({}, {})
