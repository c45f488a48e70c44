from __future__ import annotations

import json
from typing import Any

import pytest

from hansang.errors import SchemaError
from hansang.models.signature import (
    Anything,
    Array,
    Column,
    Map,
    Object,
    Param,
    Scalar,
    Signature,
    Tensor,
    infer_signature,
    parse_columns,
    parse_signature,
)


def inputs(*columns: dict[str, Any]) -> Signature:
    found = parse_signature({"inputs": json.dumps(columns)})
    assert found
    return found


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        *(({"type": kind}, Scalar(kind)) for kind in ("boolean", "integer", "long", "float", "double")),
        *(({"type": kind}, Scalar(kind)) for kind in ("string", "binary", "datetime")),
        ({"type": "array", "items": {"type": "array", "items": {"type": "long"}}}, Array(Array(Scalar("long")))),
        ({"type": "map", "values": {"type": "double"}}, Map(Scalar("double"))),
        ({"type": "any"}, Anything()),
        ({"type": "sparkml-vector"}, Array(Scalar("double"))),
        (
            {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}},
            Tensor("float32", (-1, 28, 28)),
        ),
        (
            {"type": "object", "properties": {"x": {"type": "long"}, "y": {"type": "string", "required": False}}},
            Object((Column("x", Scalar("long")), Column("y", Scalar("string"), required=False))),
        ),
    ],
)
def test_every_type_form_is_read(item: dict[str, Any], kind: Any) -> None:
    assert inputs({**item, "name": "n"}).inputs == (Column("n", kind),)


def test_an_optional_column_is_optional_in_both_spellings() -> None:
    columns = inputs(
        {"name": "a", "type": "long", "required": False}, {"name": "b", "type": "long", "optional": True}
    ).inputs
    assert [column.required for column in columns] == [False, False]


def test_a_lone_unnamed_input_is_called_input_and_a_lone_unnamed_output_prediction() -> None:
    signature = Signature((Column(None, Scalar("long")),), (Column(None, Scalar("long")),))
    assert signature.input_names == ("input",)
    assert signature.output_names == ("prediction",)


def test_several_unnamed_columns_are_numbered() -> None:
    two = (Column(None, Scalar("long")), Column(None, Scalar("long")))
    assert Signature(two).input_names == ("input_0", "input_1")


def test_params_keep_their_default_and_a_shape_makes_a_list() -> None:
    params = [
        {"name": "t", "type": "double", "default": 0.5, "shape": None},
        {"name": "stop", "type": "string", "default": ["."], "shape": [-1]},
    ]
    found = parse_signature({"inputs": '[{"type": "long"}]', "outputs": None, "params": json.dumps(params)})
    assert found
    assert found.params == (Param("t", Scalar("double"), 0.5), Param("stop", Array(Scalar("string")), ["."]))
    assert found.outputs == ()


@pytest.mark.parametrize("document", [None, {}, {"inputs": None}, {"outputs": "[]"}])
def test_a_model_without_inputs_has_no_signature(document: Any) -> None:
    assert parse_signature(document) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "is a dict; expected a list"),
        ('[{"type": "complex"}]', "unknown type 'complex'; expected one of boolean"),
        ('[{"name": "x"}]', "unreadable type"),
        ('[{"type": "array"}]', "unreadable type"),
        ('[{"type": "tensor", "tensor-spec": {"dtype": "nope", "shape": [-1]}}]', "unreadable type"),
    ],
)
def test_an_unreadable_signature_is_said(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_columns(text)


def test_a_signature_is_inferred_from_example_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 1, "c": True, "d": "x", "e": [1.5], "f": {"k": 1}},
        {"a": 2, "b": 1.5, "c": None, "d": "y", "e": [2], "f": {"k": 2}},
    ]
    found = infer_signature(rows)
    assert found.inputs[:4] == (
        Column("a", Scalar("long")),
        Column("b", Scalar("double")),
        Column("c", Scalar("boolean"), required=False),
        Column("d", Scalar("string")),
    )
    assert found.inputs[4].type == Anything()
    assert found.inputs[5].type == Object((Column("k", Scalar("long")),))
    assert "inferred from the input example" in found.note


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], Tensor("float64", (-1, 2))),
        ([[[1], [2]]], Tensor("int64", (-1, 2, 1))),
        ([["a"], ["b"]], Array(Scalar("string"))),
        ([[1.0], [1.0, 2.0]], Array(Scalar("double"))),
        ([5], Scalar("long")),
    ],
)
def test_the_lone_field_input_is_unnamed_and_a_tensor_where_it_can_be(values: list[Any], kind: Any) -> None:
    assert infer_signature([{"input": value} for value in values]).inputs == (Column(None, kind),)
