from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings

from hansang import Batch, Model, Node, Service, UsageError, node
from hansang.errors import ModelError, SchemaError, SettingsError
from hansang.testing import on_loop


class Row(BaseModel):
    """One row."""

    x: float = Field(examples=[1.5])


@node
def same(batch: Batch) -> list[Any]:
    return batch.rows


@dataclass(frozen=True)
class Held(Node):
    """A node with a lifetime."""

    name: str
    events: list[str] = field(default_factory=list)

    async def __call__(self, batch: Batch) -> Batch:
        return batch

    async def __aenter__(self) -> None:
        self.events.append(f"enter {self.name}")

    async def __aexit__(self, *exc: object) -> None:
        self.events.append(f"leave {self.name}")


def test_a_service_has_a_route_for_its_graph_and_more_when_asked() -> None:
    service = Service("digits", same, input=Row)
    extra = service.endpoint("/other/rows", len, name="others", input=Row)
    assert [endpoint.name for endpoint in service.endpoints] == ["predict", "others"]
    assert service.endpoint("/a/b", len).name == "a-b" and extra.input is Row
    assert repr(service) == "Service('digits', /predict, /other/rows, /a/b)"


@pytest.mark.parametrize(
    ("path", "text"),
    [("predict", "the path 'predict' of an endpoint must start with /"), ("/predict", "two endpoints at /predict")],
)
def test_a_path_that_cannot_be_is_refused(path: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Service("digits", same).endpoint(path, same)


def test_what_is_missing_is_said_at_load() -> None:
    with pytest.raises(UsageError, match="service 'digits' has no endpoint; give it a graph"):
        Service("digits").load()
    with pytest.raises(UsageError, match="has schemas but no graph"):
        Service("digits", input=Row)
    with pytest.raises(SchemaError, match="endpoint /predict needs input=: its graph does not start with a model"):
        Service("digits", same).load()


def test_the_example_of_a_row_is_the_declared_one_or_made_of_the_fields() -> None:
    service = Service("digits", same, input=Row)
    declared = service.endpoint("/declared", same, input=Row, example={"x": 3})
    service.load()
    assert service.endpoints[0].sample() == {"x": 1.5} and declared.sample() == {"x": 3}


def test_an_example_that_does_not_fit_is_said_at_load() -> None:
    with pytest.raises(SchemaError, match="the example of /predict does not fit its schema"):
        Service("digits", same, input=Row, example={"x": "one"}).load()


def test_when_one_model_cannot_be_loaded_the_others_are_let_go(tmp_path: Path) -> None:
    good, bad = Model(len), Model(tmp_path / "missing.onnx")
    service = Service("digits", good >> bad, input=Row)
    with pytest.raises(ModelError):
        service.load()
    with pytest.raises(ModelError, match="is not loaded"):
        _ = good.loaded


@on_loop
async def test_resources_and_nodes_are_entered_once_and_left_in_the_opposite_order() -> None:
    events: list[str] = []
    shared = Held("node", events)

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        events.append("enter resource")
        yield
        events.append("leave resource")

    service = Service("digits", shared >> same, input=Row, resources=[resource])
    service.endpoint("/other", same >> shared, input=Row)
    async with service.running():
        events.append("running")
    assert events == ["enter resource", "enter node", "running", "leave node", "leave resource"]


@on_loop
async def test_a_service_can_be_started_again_after_it_ended() -> None:
    service = Service("digits", Model(same.function), input=Row)
    for _ in range(2):
        service.load()
        async with service.running():
            answer = await service.endpoints[0].graph(Batch.of([1]))
            assert answer.rows == [1]
        with pytest.raises(ModelError, match="is not loaded"):
            _ = service.models[0].loaded
    found = [family for family in service.metrics.collect() if family.name == "hansang_model_seconds"]
    assert sum(sample.value for sample in found[0].samples if sample.name.endswith("_count")) == 2


@on_loop
async def test_rows_that_the_model_never_saw_are_counted_by_reason() -> None:
    service = Service("digits", Model(same.function, max_queue=0, max_batch=1), input=Row)
    service.load()
    async with service.running():
        answer = await service.endpoints[0].graph(Batch.of([1, 2, 3]))
        assert answer.failed == 2
    found = [family for family in service.metrics.collect() if family.name == "hansang_model_dropped_rows"]
    assert {sample.labels["reason"]: sample.value for sample in found[0].samples} == {
        "overloaded": 2,
        "deadline": 0,
        "caller_left": 0,
    }


def test_the_users_settings_are_read_at_load_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(BaseSettings):
        limit: int = 3

    assert Service("digits", same, input=Row, settings=Own).settings.limit == 3
    monkeypatch.setenv("LIMIT", "many")
    with pytest.raises(SettingsError, match="LIMIT"):
        Service("digits", same, input=Row, settings=Own).load()


def test_endpoints_are_added_before_the_application_is_used() -> None:
    service = Service("digits", same, input=Row)
    assert service.app is service.app
    with pytest.raises(UsageError, match="add endpoints before service.app is used"):
        service.endpoint("/late", same)
