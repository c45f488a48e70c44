from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hansang.errors import SchemaError
from hansang.models.schema import input_schema, output_schema
from hansang.models.signature import Signature, parse_signature


def signature(*columns: dict[str, Any], outputs: Any = (), params: Any = ()) -> Signature:
    document = {"inputs": json.dumps(columns), "outputs": json.dumps(outputs), "params": json.dumps(params)}
    found = parse_signature(document)
    assert found
    return found


def adapter(*columns: dict[str, Any], params: Any = ()) -> TypeAdapter[Any]:
    return TypeAdapter(input_schema(signature(*columns, params=params)))


def column(kind: str, **more: Any) -> dict[str, Any]:
    return {"name": "x", "type": kind, **more}


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def faults(found: TypeAdapter[Any], body: str) -> list[tuple[Any, ...]]:
    with pytest.raises(ValidationError) as caught:
        found.validate_json(body)
    return [(*fault["loc"], fault["type"]) for fault in caught.value.errors()]


LIST = {"items": {"type": "long"}}
OBJECT = {"properties": {"a": {"type": "long", "required": True}, "b": {"type": "string", "required": False}}}


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        (column("boolean"), "true", True),
        (column("integer"), "2147483647", 2**31 - 1),
        (column("long"), "-9223372036854775808", -(2**63)),
        (column("float"), "1.5", 1.5),
        (column("float"), "3", 3.0),
        (column("double"), "1e300", 1e300),
        (column("double"), "3", 3.0),
        (column("string"), '"\\u00e9"', "é"),
        (column("binary"), '"aGk="', b"hi"),
        (column("datetime"), '"2024-01-02T03:04:05"', datetime.datetime(2024, 1, 2, 3, 4, 5)),
        (column("datetime"), '"2024-01-02T03:04:05Z"', datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (column("array", **LIST), "[1, 2]", [1, 2]),
        (column("map", values={"type": "double"}), '{"k": 1}', {"k": 1.0}),
        (column("object", **OBJECT), '{"a": 1}', {"a": 1, "b": None}),
        (column("any"), '[1, {"k": null}]', [1, {"k": None}]),
        (column("any"), "null", None),
    ],
)
def test_every_type_takes_its_own_values(spec: dict[str, Any], text: str, value: Any) -> None:
    found = adapter(spec).validate_json(f'{{"x": {text}}}')
    assert found == {"x": value}
    assert type(found) is dict
    assert type(found["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        *(("boolean", text, "bool_type") for text in ('"abc"', '"true"', "1", "1.5", "{}")),
        *(("integer", text, "int_type") for text in ('"1"', "true", "1.5", "1.0", "NaN")),
        ("integer", "2147483648", "less_than_equal"),
        ("integer", "-2147483649", "greater_than_equal"),
        *(("long", text, "int_type") for text in ('"1"', "true", "1.5", "1e3")),
        ("long", "9223372036854775808", "less_than_equal"),
        *((kind, text, "float_type") for kind in ("float", "double") for text in ('"1"', "true", "[1]")),
        *((kind, text, "finite_number") for kind in ("float", "double") for text in ("NaN", "Infinity", "1e400")),
        ("double", "1" + "0" * 400, "finite_number"),
        ("float", "3.5e38", "less_than_equal"),
        *(("string", text, "string_type") for text in ("1", "true", "[]")),
        ("binary", '"a*"', "bytes_invalid_encoding"),
        ("binary", "1", "bytes_type"),
        *(("datetime", text, "datetime_type") for text in ("1704067200", "1.5", "true")),
        *(
            ("datetime", text, "datetime_parsing")
            for text in ('"1704067200"', '"abc"', '"2024-01-02"', '"2024-13-01T00:00"')
        ),
        *((kind, "null", None) for kind in ("boolean", "integer", "long", "float", "double", "string", "binary")),
        ("any", "NaN", "value_error"),
        ("any", '{"k": [1e400]}', "value_error"),
    ],
)
def test_nothing_is_coerced(kind: str, text: str, fault: str | None) -> None:
    (found,) = faults(adapter(column(kind)), f'{{"x": {text}}}')
    assert found[0] == "x"
    assert fault is None or found[-1] == fault


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_arrives_as_it_is(value: float) -> None:
    assert adapter(column("double")).validate_json(json.dumps({"x": value})) == {"x": value}


def test_missing_unknown_and_null_fields_are_faults_at_their_place() -> None:
    found = adapter(column("object", **OBJECT), {"name": "y", "type": "long"})
    assert faults(found, '{"x": {"a": 1, "c": 2}, "z": 1}') == [
        ("x", "c", "extra_forbidden"),
        ("y", "missing"),
        ("z", "extra_forbidden"),
    ]
    assert faults(found, '{"x": {}, "y": 1}') == [("x", "a", "missing")]


@pytest.mark.parametrize("body", ["{}", '{"x": null}'])
@pytest.mark.parametrize("kind", ["double", "string", "datetime", "binary", "any"])
def test_an_optional_column_left_out_or_null_is_none_in_the_row(kind: str, body: str) -> None:
    assert adapter(column(kind, required=False)).validate_json(body) == {"x": None}


@pytest.mark.parametrize("name", ["c d", "", "model_x", "_y", "def", "é", "params", "a.b", "x" * 300])
def test_a_column_may_have_any_name(name: str) -> None:
    found = adapter({"name": name, "type": "long"})
    assert found.validate_json(json.dumps({name: 1})) == {name: 1}
    assert name in found.json_schema()["properties"]


def test_a_tensor_row_is_a_list_of_exactly_its_shape() -> None:
    found = adapter(tensor("float32", -1, 2, 3))
    assert found.validate_json('{"input": [[1, 2, 3], [4, 5, 6]]}') == {"input": [[1, 2, 3], [4, 5, 6]]}
    assert faults(found, '{"input": [[1, 2, 3]]}') == [("input", "too_short")]
    assert faults(found, '{"input": [[1, 2, 3], [4, 5, 6, 7]]}') == [("input", 1, "too_long")]
    assert faults(found, '{"input": [[1, 2, 3], [4, 5, "6"]]}') == [("input", 1, 2, "float_type")]
    assert adapter(tensor("int64", -1)).validate_json('{"input": 5}') == {"input": 5}
    assert adapter(tensor("int64", -1, -1)).validate_json('{"input": []}') == {"input": []}


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("float16", "65504", "65505.0"),
        ("float32", "1.5", "1e39"),
        ("float64", "1e300", '"1"'),
        ("int8", "127", "128"),
        ("int16", "-32768", "-32769"),
        ("int32", "1", "1.0"),
        ("int64", "1", "true"),
        ("uint8", "255", "-1"),
        ("uint64", "18446744073709551615", "18446744073709551616"),
        ("bool", "true", "1"),
        ("str", '"x"', "1"),
        ("S", '"aGk="', "1"),
        ("object", "[1]", "NaN"),
        ("datetime64[ns]", '"2024-01-02T00:00:00"', "1"),
    ],
)
def test_tensors_of_every_dtype_hold_their_range(dtype: str, good: str, bad: str) -> None:
    found = adapter(tensor(dtype, -1, 1))
    found.validate_json(f'{{"input": [{good}]}}')
    assert faults(found, f'{{"input": [{bad}]}}')


def test_a_dtype_that_json_cannot_hold_is_refused_at_start() -> None:
    with pytest.raises(SchemaError, match="tensors of complex128 cannot be sent as JSON"):
        adapter(tensor("complex128", -1, 1))


PARAMS = [
    {"name": "t", "type": "double", "default": 0.5, "shape": None},
    {"name": "when", "type": "datetime", "default": "2024-01-02T00:00:00", "shape": None},
    {"name": "stop", "type": "string", "default": ["."], "shape": [-1]},
    {"name": "none", "type": "long", "default": None, "shape": None},
]


def test_params_are_filled_up_with_their_defaults() -> None:
    found = adapter(column("long"), params=PARAMS)
    defaults = {"t": 0.5, "when": datetime.datetime(2024, 1, 2), "stop": ["."], "none": None}
    assert found.validate_json('{"x": 1}') == {"x": 1, "params": defaults}
    assert found.validate_json('{"x": 1, "params": {"t": 1}}')["params"] == {**defaults, "t": 1.0}
    assert found.json_schema()["$defs"]["Row_params"]["properties"]["t"]["default"] == 0.5


def test_rows_do_not_share_the_default_params() -> None:
    found = adapter(column("long"), params=PARAMS)
    one, two = found.validate_json('{"x": 1}'), found.validate_json('{"x": 1}')
    one["params"]["stop"].append("!")
    assert two["params"]["stop"] == ["."]


def test_unknown_and_wrong_params_are_faults() -> None:
    found = adapter(column("long"), params=PARAMS)
    assert faults(found, '{"x": 1, "params": {"top": 1}}') == [("params", "top", "extra_forbidden")]
    assert faults(found, '{"x": 1, "params": {"t": "1"}}') == [("params", "t", "float_type")]


def test_a_default_of_the_wrong_type_and_a_column_named_params_are_said_at_start() -> None:
    with pytest.raises(SchemaError, match="the default of param 't' does not fit its type"):
        adapter(column("long"), params=[{"name": "t", "type": "double", "default": "x", "shape": None}])
    with pytest.raises(SchemaError, match="rename the column"):
        adapter({"name": "params", "type": "long"}, params=PARAMS)


def test_descriptions_and_examples_show_up_in_the_json_schema() -> None:
    kind = signature(column("double"), {"name": "b", "type": "binary"})
    found = TypeAdapter(input_schema(kind, [{"x": 1.5, "b": b"hi"}])).json_schema()
    assert found["examples"] == [{"x": 1.5, "b": "aGk="}]
    assert found["properties"]["x"]["examples"] == [1.5]
    assert found["properties"]["x"]["description"] == "number, 64-bit float"
    json.dumps(found)


def test_a_missing_signature_is_inferred_from_the_example_and_the_schema_says_so() -> None:
    found = TypeAdapter(input_schema(None, [{"a": 1.5}]))
    assert found.validate_json('{"a": 1}') == {"a": 1.0}
    assert "inferred from the input example" in found.json_schema()["description"]


def test_neither_signature_nor_example_is_an_error_that_says_how_to_add_one() -> None:
    with pytest.raises(SchemaError, match=r"neither a signature nor an input example; log it with .*infer_signature"):
        input_schema(None, [])


def test_an_output_that_is_not_finite_is_null() -> None:
    outputs = [{"name": "p", "type": "double"}, {"name": "v", **tensor("float32", -1, 2)}, column("any")]
    found: TypeAdapter[Any] = TypeAdapter(output_schema(signature(column("long"), outputs=outputs)))
    row = {"p": float("nan"), "v": [1.0, float("inf")], "x": [float("nan")]}
    assert found.dump_json(found.validate_python(row)) == b'{"p":null,"v":[1.0,null],"x":[null]}'


def test_outputs_are_cut_to_the_declared_ones_and_must_have_their_types() -> None:
    found: TypeAdapter[Any] = TypeAdapter(output_schema(signature(column("long"), outputs=[{"type": "long"}])))
    assert found.validate_python({"prediction": 1, "more": 2}) == {"prediction": 1}
    with pytest.raises(ValidationError):
        found.validate_python({"prediction": "1"})


def test_unknown_outputs_are_any_object() -> None:
    found: TypeAdapter[Any] = TypeAdapter(output_schema(None))
    assert found.dump_json(found.validate_python({"a": float("nan")})) == b'{"a":null}'
