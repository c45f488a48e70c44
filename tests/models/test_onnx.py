from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from hansang.errors import ModelError, SchemaError
from hansang.models.runtime import Runtime, load_runtime
from hansang.models.schema import input_schema, output_schema
from hansang.models.signature import Column, Tensor
from hansang.models.uri import resolve
from tests.models.calling import predict


def test_a_bare_onnx_file_says_itself_what_it_takes_and_gives(files: Path) -> None:
    runtime = load_runtime(resolve(str(files / "linear.onnx")))
    assert runtime.signature
    assert runtime.signature.inputs == (Column("X", Tensor("float32", (-1, 3))),)
    assert runtime.signature.output_names == ("label", "probabilities")
    (answer,) = predict(runtime, [{"X": [0.5, -1.0, 2.0]}])
    assert answer["label"] in (0, 1) and len(answer["probabilities"]) == 2


def test_a_map_of_probabilities_is_an_object_with_text_keys(files: Path) -> None:
    runtime = load_runtime(resolve(str(files / "zipmap.onnx")))
    plain = load_runtime(resolve(str(files / "linear.onnx")))
    (answer,) = predict(runtime, [{"X": [0.5, -1.0, 2.0]}])
    (other,) = predict(plain, [{"X": [0.5, -1.0, 2.0]}])
    assert answer["output_probability"] == dict(zip(("0", "1"), other["probabilities"], strict=True))
    TypeAdapter(output_schema(runtime.signature)).validate_python(answer)


def graph(
    path: Path, inputs: list[tuple[str, int, list[Any]]], nodes: list[Any], outputs: list[Any], **more: Any
) -> Path:
    from onnx import helper

    named = [helper.make_tensor_value_info(*item) for item in inputs]
    given = [helper.make_tensor_value_info(*item) for item in outputs]
    opsets = [helper.make_opsetid(*pair) for pair in more.pop("opsets", [("", 17)])]
    made = helper.make_model(helper.make_graph(nodes, "g", named, given, **more), opset_imports=opsets, ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def node(kind: str, inputs: list[str], outputs: list[str], **more: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, outputs, **more)


FLOAT, INT64, STRING, BOOL = 1, 7, 8, 9


def test_several_inputs_of_different_types_are_read_by_name(tmp_path: Path) -> None:
    file = graph(
        tmp_path / "m.onnx",
        [("x", FLOAT, ["n", 1]), ("n", INT64, ["n"]), ("s", STRING, ["n"]), ("f", BOOL, ["n", 2])],
        [node(kind, [i], [o]) for kind, i, o in zip(["Identity"] * 4, "xnsf", "abcd", strict=True)],
        [("a", FLOAT, ["n", 1]), ("b", INT64, ["n"]), ("c", STRING, ["n"]), ("d", BOOL, ["n", 2])],
    )
    runtime = load_runtime(resolve(str(file)))
    row = {"x": [1.5], "n": 2**53 + 1, "s": "한상", "f": [True, False]}
    assert TypeAdapter(input_schema(runtime.signature)).validate_python(row) == row
    assert predict(runtime, [row, row]) == [{"a": [1.5], "b": 2**53 + 1, "c": "한상", "d": [True, False]}] * 2


def test_rows_of_different_lengths_never_go_in_one_call(tmp_path: Path) -> None:
    mean = node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    file = graph(tmp_path / "m.onnx", [("x", FLOAT, ["n", "any"])], [mean], [("y", FLOAT, ["n"])])
    runtime = load_runtime(resolve(str(file)))
    rows = [{"x": [1.0]}, {"x": [2.0, 4.0]}, {"x": [5.0]}, {"x": [1.0, 2.0, 3.0]}]
    assert [row["y"] for row in predict(runtime, rows)] == [1.0, 3.0, 5.0, 2.0]


def test_a_file_that_fixes_its_batch_at_one_is_called_row_by_row_and_at_more_is_refused(tmp_path: Path) -> None:
    double = node("Add", ["x", "x"], ["y"])
    one = graph(tmp_path / "one.onnx", [("x", FLOAT, [1, 2])], [double], [("y", FLOAT, [1, 2])])
    runtime = load_runtime(resolve(str(one)))
    assert predict(runtime, [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]) == [{"y": [2.0, 4.0]}, {"y": [6.0, 8.0]}]
    eight = graph(tmp_path / "eight.onnx", [("x", FLOAT, [8, 2])], [double], [("y", FLOAT, [8, 2])])
    with pytest.raises(ModelError, match="fixes its batch at 8 rows; export it with a dynamic first axis"):
        load_runtime(resolve(str(eight)))


def test_operators_of_another_library_are_refused(tmp_path: Path) -> None:
    odd = node("Odd", ["x"], ["y"], domain="evil")
    file = graph(
        tmp_path / "m.onnx", [("x", FLOAT, ["n"])], [odd], [("y", FLOAT, ["n"])], opsets=[("", 17), ("evil", 1)]
    )
    with pytest.raises(
        ModelError, match="cannot be loaded by ONNX Runtime: .*evil.*; expected an ONNX model of its own"
    ):
        load_runtime(resolve(str(file)))


def external(path: Path, location: str) -> Path:
    from onnx import TensorProto

    weight = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        weight.external_data.add(key=key, value=value)
    add = node("Add", ["x", "w"], ["y"])
    return graph(path, [("x", FLOAT, ["n", 2])], [add], [("y", FLOAT, ["n", 2])], initializer=[weight])


def test_tensors_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.array([10, 20], np.float32).tobytes())
    runtime = load_runtime(resolve(str(external(tmp_path / "m.onnx", "w.bin"))))
    assert predict(runtime, [{"x": [1.0, 2.0]}]) == [{"y": [11.0, 22.0]}]


def test_tensors_outside_the_models_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"12345678")
    (inside / "link.bin").symlink_to(secret)
    for location in ("../secret.bin", str(secret), "link.bin"):
        with pytest.raises(ModelError, match="outside the model's folder; put the file beside the model"):
            load_runtime(resolve(str(external(inside / "m.onnx", location))))
    with pytest.raises(ModelError, match="keeps tensors in 'none.bin', which is missing"):
        load_runtime(resolve(str(external(inside / "m.onnx", "none.bin"))))


def test_a_signature_that_does_not_fit_the_file_is_said_at_load(files: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((files / "linear.onnx").read_bytes())

    def load(inputs: str) -> Runtime:
        text = f"flavors: {{onnx: {{data: model.onnx}}}}\nsignature: {{inputs: '{inputs}'}}\n"
        (tmp_path / "MLmodel").write_text(text)
        return load_runtime(resolve(str(tmp_path)))

    with pytest.raises(SchemaError, match=r"the signature has 2 columns, but the ONNX file's input X has the shape"):
        load('[{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]')
    with pytest.raises(SchemaError, match=r"the signature's inputs a, b do not fit the ONNX file's: X tensor\(float\)"):
        load('[{"name": "a", "type": "double"}, {"name": "b", "type": "string"}]')
