"""What a version must pass before it answers: manifest, golden requests, and the schema of the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hansang import Model
from hansang.errors import ModelError, SchemaError
from hansang.models.compatible import check_compatible
from hansang.models.manifest import MANIFEST, check_manifest, write_manifest
from hansang.models.signature import Array, Column, Map, Object, Param, Scalar, Signature, Tensor, Type
from hansang.settings import Settings
from tests.models.steps import STEP, write

# --- manifest ---


def test_a_folder_is_what_its_manifest_says_until_a_file_is_changed_added_or_gone(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", 1)
    check_manifest(folder)  # without one, everything passes
    write_manifest(folder)
    check_manifest(folder)
    (folder / "registered_model_meta").write_text("mlflow's client writes this beside what it fetches")
    check_manifest(folder)
    (folder / "more.py").write_text("")
    with pytest.raises(ModelError, match=r"more.py is not in the manifest"):
        check_manifest(folder)
    (folder / "more.py").unlink()
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text + "\n")
    with pytest.raises(ModelError, match="MLmodel is not the file that the manifest names"):
        check_manifest(folder)
    (folder / "MLmodel").unlink()
    with pytest.raises(ModelError, match="MLmodel is missing"):
        check_manifest(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": [1]}', "\xff"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path / "model", 1)
    (folder / MANIFEST).write_text(text, "latin-1")
    with pytest.raises(ModelError, match="is not a manifest"):
        check_manifest(folder)


def test_a_pinned_model_is_held_against_its_manifest_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", 1, manifest=True)
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="is not the file that the manifest names"):
        Model(str(folder)).load(Settings())


# --- golden requests ---


def load(folder: Path, lines: list[dict[str, Any]]) -> None:
    model = Model(str(write(folder / str(len(list(folder.iterdir()))), 1, golden=lines)))
    model.load(Settings())
    model.unload()


def test_golden_requests_that_are_answered_as_expected_pass(tmp_path: Path) -> None:
    load(tmp_path, [])
    load(tmp_path, [{"input": {"x": n}, "output": {"y": n + STEP}} for n in range(200)])
    load(tmp_path, [{"input": {"x": 1.0}}, {"input": {"x": 1}, "output": {"y": 1001.05}, "atol": 0.1}])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"input": {"x": 1.0}, "output": {"y": 1001.5}}, "golden request 1: y: expected 1001.5, got 1001"),
        ({"input": {"x": 1.0}, "output": {"z": 1001.0}}, "golden request 1: prediction: expected {'z'"),
        ({"input": {"x": 1.0}, "output": {"y": "1001"}}, "y: expected '1001', got 1001"),
        ({"input": {"x": 1.0}, "output": {"y": None}}, "y: expected None"),
        ({"input": {"x": "1"}}, "golden request 1: x: "),
        ({"input": {}}, "golden request 1: x: Field required"),
        ({"output": 1}, "line 1 of golden.jsonl: input: Field required"),
        ({"input": {"x": 1.0}, "ouput": 1}, "line 1 of golden.jsonl: ouput: Extra inputs"),
    ],
)
def test_a_golden_request_that_is_answered_otherwise_is_told(
    tmp_path: Path, line: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load(tmp_path, [line])


def test_a_line_that_is_no_json_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", 1, golden=[])
    (folder / "golden.jsonl").write_text(json.dumps({"input": {"x": 1.0}}) + "\noops\n")
    with pytest.raises(ModelError, match="line 2 of golden.jsonl: line: Invalid JSON"):
        Model(str(folder)).load(Settings())


# --- the schema of the service ---

DOUBLE, LONG, INTEGER, TEXT = Scalar("double"), Scalar("long"), Scalar("integer"), Scalar("string")


def signature(inputs: dict[str, Type], outputs: dict[str, Type], optional: tuple[str, ...] = ()) -> Signature:
    given = tuple(Column(name, kind, name not in optional) for name, kind in inputs.items())
    return Signature(given, tuple(Column(name, kind) for name, kind in outputs.items()))


SERVED = signature({"a": LONG, "b": TEXT}, {"y": DOUBLE})


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        SERVED,
        signature({"b": TEXT, "a": LONG}, {"y": DOUBLE}),
        signature({"a": DOUBLE, "b": TEXT}, {"y": DOUBLE}),
        signature({"a": LONG, "b": TEXT, "c": TEXT}, {"y": Scalar("float")}, optional=("c", "a")),
        signature({"a": LONG, "b": TEXT}, {"y": LONG}),
    ],
)
def test_a_version_that_takes_what_clients_send_and_gives_what_they_read_is_taken(
    other: Signature, closed: bool
) -> None:
    check_compatible(SERVED, other, closed)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (None, "it has no signature"),
        (signature({"a": LONG, "b": TEXT, "c": TEXT}, {"y": DOUBLE}), "it needs the input 'c'"),
        (signature({"a": INTEGER, "b": TEXT}, {"y": DOUBLE}), "its input 'a' is integer, the service's is long"),
        (signature({"a": LONG, "b": LONG}, {"y": DOUBLE}), "its input 'b' is long, the service's is string"),
        (signature({"a": LONG, "b": TEXT}, {"y": TEXT}), "its output 'y' is string, the service's is double"),
        (signature({"a": LONG, "b": TEXT}, {}), "it does not give the output 'y'"),
        (signature({"a": LONG, "b": TEXT}, {"y": DOUBLE, "z": TEXT}), "it gives the output 'z'"),
    ],
)
def test_a_version_that_would_break_clients_is_refused(other: Signature | None, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        check_compatible(SERVED, other, closed=False)


def test_an_input_may_go_only_where_the_schema_is_not_made_of_it() -> None:
    fewer = signature({"a": LONG}, {"y": DOUBLE})
    check_compatible(SERVED, fewer, closed=False)
    with pytest.raises(SchemaError, match="it does not take the input 'b', which clients send"):
        check_compatible(SERVED, fewer, closed=True)


def test_what_may_be_left_out_must_not_be_needed() -> None:
    with pytest.raises(SchemaError, match="it needs the input 'b', which may be left out"):
        check_compatible(signature({"b": TEXT}, {}, optional=("b",)), signature({"b": TEXT}, {}), closed=False)


def test_a_service_without_a_signature_takes_any() -> None:
    check_compatible(None, SERVED, closed=True)


def test_parameters_stay() -> None:
    with_param = Signature(SERVED.inputs, SERVED.outputs, (Param("alpha", DOUBLE, 1.0),))
    check_compatible(SERVED, with_param, closed=True)
    with pytest.raises(SchemaError, match="it does not take the parameter 'alpha'"):
        check_compatible(with_param, SERVED, closed=True)


def fits(given: Type, wanted: Type) -> bool:
    try:
        check_compatible(signature({"a": given}, {}), signature({"a": wanted}, {}), closed=True)
    except SchemaError:
        return False
    return True


def test_types_are_compared_at_any_depth() -> None:
    assert fits(Tensor("float32", (-1, 4)), Tensor("float32", (-1, -1)))
    assert not fits(Tensor("float32", (-1, -1)), Tensor("float32", (-1, 4)))
    assert not fits(Tensor("float32", (-1, 4)), Tensor("float64", (-1, 4)))
    assert fits(Array(INTEGER), Array(LONG)) and not fits(Array(LONG), Array(INTEGER))
    assert fits(Map(INTEGER), Map(LONG)) and not fits(Map(TEXT), Map(LONG))
    one, two = Object((Column("p", LONG),)), Object((Column("p", LONG), Column("q", TEXT)))
    assert fits(one, Object((Column("p", DOUBLE, required=False),))) and not fits(one, two) and not fits(two, one)
    assert not fits(Array(LONG), LONG)
