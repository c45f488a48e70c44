"""Every joint of a graph is checked when the service is built, at any depth; what is not known passes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import lightgbm
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from hansang import Batch, Model, Node, Service, fallback, node
from hansang.dispatch import Dispatcher, Part
from hansang.errors import InvalidRow, SchemaError
from hansang.joints.check import Joint, joints


class Text(BaseModel):
    text: str


class Mood(BaseModel):
    label: str
    score: float = Field(ge=0, le=1)


class Scored(TypedDict):
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Parallel(Node):
    members: Mapping[str, Node]
    quorum: int | None = None
    combine: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Either(Dispatcher):
    """Any dispatcher is known to give each row to one side."""

    first: Node
    second: Node

    def parts(self, batch: Batch) -> Iterable[Part]:
        return [Part(batch, self.first)]


@dataclass(frozen=True, slots=True, eq=False)
class Shadow(Dispatcher):
    live: Node
    candidate: Node

    def parts(self, batch: Batch) -> Iterable[Part]:
        return [Part(batch, self.live)]


@node.each
def clean(row: Text) -> str:
    return row.text.lower()


@node.each
def judge(text: str) -> Mood | InvalidRow:
    return Mood(label="good", score=len(text) / 10)


@node.each
def count(text: str) -> int:
    return len(text)


@node.each
def show(mood: Mood) -> dict[str, str]:
    return {"label": mood.label}


@node.each
def rate(row: Scored) -> Scored:
    return row


@node
def silent(batch: Batch) -> Batch:
    return batch


@node
def listed(batch: Batch) -> list[Mood]:
    return []


def found(graph: Node, row: Any = Text, prediction: Any = None) -> list[tuple[str, str, bool]]:
    return [(joint.giver.name, joint.taker.name, joint.checked) for joint in joints(graph, row, prediction)]


def misfits(graph: Node, row: Any = Text, prediction: Any = None) -> list[str]:
    return [joint.text() for joint in joints(graph, row, prediction) if joint.misfit is not None]


def test_every_joint_of_a_chain_is_checked_from_the_input_to_the_output() -> None:
    assert found(clean >> judge >> show, prediction=dict[str, str]) == [
        ("the input schema Text", "the function 'clean'", True),
        ("the function 'clean'", "the function 'judge'", True),
        ("the function 'judge'", "the function 'show'", True),
        ("the function 'show'", "the output schema dict of text", True),
    ]
    assert misfits(clean >> judge >> show, prediction=dict[str, str]) == []


def test_a_service_with_a_joint_that_cannot_fit_does_not_start_and_says_what_to_do() -> None:
    service = Service("moods", clean >> count >> show, input=Text)
    with pytest.raises(SchemaError) as refused:
        service.load()
    assert str(refused.value) == (
        "endpoint /predict: the function 'show' takes Mood, the function 'count' gives integer; "
        "change one of the two, or put a node between them"
    )


def test_all_joints_that_cannot_fit_are_named_at_once() -> None:
    service = Service("moods", count >> show, input=Text, output=Mood)
    with pytest.raises(SchemaError) as refused:
        service.load()
    text = str(refused.value)
    assert "the function 'count' takes text, the input schema Text gives Text" in text
    assert "\n  and: the function 'show' takes Mood, the function 'count' gives integer" in text
    assert text.count("and:") == 1


def test_a_field_that_is_missing_is_named_with_what_there_is() -> None:
    assert misfits(clean >> judge >> node.each(needs_both)) == [
        "the function 'needs_both' needs the field 'reason' (text), which the function 'judge' does not give "
        "(it gives label, score); add it there, or put a node between them that makes it"
    ]


class Reasoned(BaseModel):
    label: str
    reason: str


def needs_both(row: Reasoned) -> str:
    return row.reason


class Short(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: str


def test_a_field_that_the_output_schema_forbids_is_named() -> None:
    assert misfits(clean >> judge, prediction=Short) == [
        "the function 'judge' gives the field 'score' (number), which the output schema Short forbids; "
        "leave it out, or let the schema take it"
    ]


def test_what_nobody_says_passes_and_is_shown_as_unchecked() -> None:
    assert found(clean >> silent >> judge) == [
        ("the input schema Text", "the function 'clean'", True),
        ("the function 'clean'", "the function 'silent'", False),
        ("the function 'silent'", "the function 'judge'", False),
    ]
    assert misfits(listed >> count) == [
        "the function 'count' takes text, the function 'listed' gives Mood; "
        "change one of the two, or put a node between them"
    ]


def test_members_of_a_parallel_take_the_same_row_and_give_a_field_each() -> None:
    graph = clean >> Parallel({"mood": judge, "size": count})
    assert misfits(graph >> node.each(both)) == []
    assert misfits(graph >> node.each(wrong)) == [
        "the function 'wrong' takes size as text, the parallel gives integer; "
        "change one of the two, or put a node between them"
    ]
    assert (
        "the function 'rate' takes Scored, the function 'clean' gives text"
        in misfits(clean >> Parallel({"mood": judge, "rate": rate}))[0]
    )
    assert misfits(clean >> Parallel({"mood": judge}, combine=max) >> node.each(wrong)) == []


class Both(TypedDict):
    mood: Mood
    size: int


class Wrong(TypedDict):
    size: str


def both(row: Both) -> int:
    return row["size"]


def wrong(row: Wrong) -> str:
    return row["size"]


def test_every_side_of_a_dispatcher_must_fit_what_comes_before_and_after() -> None:
    assert misfits(clean >> Either(judge, judge) >> show) == []
    assert misfits(clean >> Either(judge, count) >> show) == [
        "the function 'show' takes Mood, the function 'count' gives integer; "
        "change one of the two, or put a node between them"
    ]
    assert len(misfits(Either(clean, judge))) == 1


def test_a_constant_takes_any_row_and_must_fit_what_comes_after() -> None:
    assert misfits(clean >> fallback(judge, {"label": "none", "score": 0.0}) >> rate) == [
        "the function 'rate' takes Scored (a dict), the function 'judge' gives Mood (an object); "
        "change one of the two, or put a node between them"
    ]
    assert misfits(clean >> fallback(judge, "none") >> show) == [
        "the function 'show' takes Mood, the constant 'none' gives text; "
        "change one of the two, or put a node between them"
    ]
    assert len(found(clean >> fallback(judge, "none"))) == 2


def test_a_candidate_must_take_the_rows_but_its_answers_go_nowhere() -> None:
    assert misfits(clean >> Shadow(judge, count) >> show) == []
    assert len(misfits(clean >> Shadow(judge, show) >> show)) == 1


def test_joints_are_checked_at_any_depth() -> None:
    inner = Either(judge, clean >> judge)
    assert misfits(clean >> Parallel({"a": Either(count, inner)})) == [
        "the function 'clean' takes Text, the function 'clean' gives text; "
        "change one of the two, or put a node between them"
    ]


@dataclass(frozen=True)
class Own(Node):
    inner: Node


def test_how_rows_go_in_a_node_of_ones_own_is_not_known_but_inside_a_chain_it_is() -> None:
    assert misfits(clean >> Own(show) >> show) == []
    assert len(misfits(Own(count >> show))) == 1


def test_a_partial_function_and_an_object_that_is_called_say_what_they_take() -> None:
    class Called:
        def __call__(self, row: Mood) -> str:
            return row.label

    def two(first: int, row: Text) -> str:
        return row.text * first

    assert len(misfits(clean >> node.each(Called()))) == 1
    assert misfits(node.each(functools.partial(two, 2))) == []


def test_a_model_that_is_a_function_of_a_batch_gives_the_items_of_its_list() -> None:
    def model(batch: Batch) -> list[int]:
        return [1] * len(batch)

    assert "gives integer" in misfits(Model(model) >> show)[0]


def test_the_row_of_an_endpoint_that_reads_the_request_is_what_its_function_returns() -> None:
    def several(city: str) -> list[Text]:
        return [Text(text=city)]

    service = Service("moods", judge, path="/moods/{city}", input=several)
    with pytest.raises(SchemaError, match="the function 'judge' takes text, the input schema Text gives Text"):
        service.load()
    Service("moods", clean >> judge, path="/moods/{city}", input=several).load()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model whose file names its columns a, b and c, but not what it gives."""
    table = np.random.default_rng(1).normal(size=(80, 3))
    options = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    path = tmp_path_factory.mktemp("model") / "trees.txt"
    data = lightgbm.Dataset(table, table[:, 0] > 0, feature_name=["a", "b", "c"])
    lightgbm.train(options, data, 4).save_model(path)
    return path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model that takes X, three numbers, and gives a label and the probabilities."""
    table = np.random.default_rng(1).normal(size=(80, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("model") / "line.onnx"
    fitted = LogisticRegression().fit(table, table[:, 0] > 0)
    path.write_bytes(to_onnx(fitted, table[:1], options={"zipmap": False}, target_opset=17).SerializeToString())
    return path


class Abc(BaseModel):
    a: float
    b: int
    c: bool
    d: str = "more"


class Ab(BaseModel):
    a: float
    d: str


class Worded(Abc):
    b: str  # type: ignore[assignment]  # that is what is tested


def test_a_model_takes_the_fields_of_its_signature_by_name(trees: Path) -> None:
    Service("trees", Model(trees), input=Abc).load()
    with pytest.raises(
        SchemaError,
        match=r"the model 'trees' needs the fields 'b' \(number\), 'c' \(number\), which the input schema Ab",
    ):
        Service("trees", Model(trees), input=Ab).load()
    with pytest.raises(SchemaError, match="the model 'trees' takes b as number, the input schema Worded gives text"):
        Service("trees", Model(trees), input=Worded).load()


@node.each
def columns(row: Abc) -> dict[str, list[float]]:
    return {"X": [row.a, row.b, row.c]}


@node.each
def words(row: Abc) -> dict[str, str]:
    return {"X": "1"}


class Labelled(TypedDict):
    label: int


@node.each
def label(row: Labelled) -> int:
    return row["label"]


def test_a_model_in_the_middle_is_checked_on_both_sides(line: Path) -> None:
    def service(before: Node, after: Node) -> Service:
        return Service("line", before >> Model(line) >> after, input=Abc)

    service(columns, label).load()
    with pytest.raises(SchemaError, match="the model 'line' takes X as list of number, the function 'words' gives t"):
        service(words, silent).load()
    with pytest.raises(SchemaError, match=r"'rate' needs the field 'score' .*\(it gives label, probabilities\)"):
        service(columns, rate).load()


def test_the_schemas_of_a_service_are_found_through_patterns(line: Path) -> None:
    service = Service("line", Shadow(Either(Model(line), Model(line)), silent))
    service.load()
    endpoint = service.endpoints[0]
    assert set(endpoint.row.__annotations__) == {"X"}
    assert set(endpoint.prediction.__annotations__) == {"label", "probabilities"}
    different = Service("line", Either(Model(line), silent))
    different.load()
    assert different.endpoints[0].prediction is None
    service.unload()
    different.unload()


def test_a_loaded_service_tells_its_joints() -> None:
    service = Service("moods", clean >> silent, input=Text)
    assert service.endpoints[0].joints == []
    service.load()
    assert [type(joint) for joint in service.endpoints[0].joints] == [Joint, Joint]
    service.unload()
