from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from hansang.batch import Batch
from hansang.errors import ModelError, SchemaError, UsageError
from hansang.models.artifact import Artifact
from hansang.models.runtime import function_runtime, load_runtime
from hansang.models.runtimes.inputs import Frame, Matrix
from hansang.models.runtimes.outputs import Fit
from hansang.models.runtimes.sklearn import SklearnRuntime
from hansang.models.schema import input_schema, output_schema
from hansang.models.signature import Column, Scalar, Signature, Tensor
from hansang.models.uri import resolve
from tests.models.calling import ROW, ROWS, predict, rounded

MLFLOW = pytest.mark.filterwarnings("ignore::UserWarning")  # mlflow warns as it is imported

ALL = [
    ("linear", "sklearn", True),
    ("linear@challenger", "sklearn", True),
    ("pickled/1", "sklearn", True),
    ("mixed/1", "sklearn", True),
    ("lightgbm/1", "lightgbm", True),
    ("lightgbm-wrapped/1", "lightgbm", True),
    ("xgboost/1", "xgboost", True),
    ("xgboost-wrapped/1", "xgboost", True),
    ("onnx/1", "onnx", True),
    ("onnx-example/1", "onnx", True),
    *(pytest.param(name, "pyfunc", False, marks=MLFLOW) for name in ("python/1", "hinted/1", "kinds/1")),
]


@pytest.mark.parametrize(("name", "library", "native"), ALL)
def test_every_model_answers_its_example_one_by_one_as_together_and_fits_its_schemas(
    model: Callable[[str], Artifact], name: str, library: str, native: bool
) -> None:
    found = model(name)
    runtime = load_runtime(found, trust=True)
    assert (runtime.name, runtime.native) == (library, native)
    signature = found.signature or runtime.signature
    rows = found.example
    assert rows
    row_type: TypeAdapter[Any] = TypeAdapter(input_schema(signature, rows))
    assert row_type.validate_json(row_type.dump_json(rows[0])) == rows[0]
    answers = predict(runtime, rows)
    assert rounded(answers) == rounded([predict(runtime, [row])[0] for row in rows])
    answer_type: TypeAdapter[Any] = TypeAdapter(output_schema(signature))
    assert [answer_type.validate_python(answer) for answer in answers] == answers


def test_a_linear_model_and_its_onnx_form_agree(model: Callable[[str], Artifact]) -> None:
    one, two = load_runtime(model("linear@challenger")), load_runtime(model("onnx/1"))
    left = [row["prediction"] for row in predict(one, ROWS)]
    right = [row["prediction"] for row in predict(two, ROWS)]
    assert np.allclose(left, right, atol=1e-6)


def test_columns_give_the_same_as_rows(model: Callable[[str], Artifact]) -> None:
    columns = Batch.of_columns({name: np.array([row[name] for row in ROWS]) for name in ROW})
    for name in ("linear", "onnx/1", "lightgbm/1", "xgboost/1", "lightgbm-wrapped/1"):
        runtime = load_runtime(model(name))
        assert rounded(columns.replace(runtime.predict(columns)).rows) == rounded(predict(runtime, ROWS))


# --- scikit-learn ---


def test_a_numeric_model_gets_an_array_without_warning_and_a_mixed_one_its_frame(
    model: Callable[[str], Artifact],
) -> None:
    numeric, mixed = load_runtime(model("linear")), load_runtime(model("mixed/1"))
    assert isinstance(numeric, SklearnRuntime) and isinstance(numeric.read, Matrix)
    assert isinstance(mixed, SklearnRuntime) and isinstance(mixed.read, Frame)
    (answer,) = predict(mixed, [{**ROW, "color": "red"}])
    assert answer["prediction"] in ("low", "mid", "top")


def test_a_forest_keeps_to_its_threads(files: Path) -> None:
    runtime = load_runtime(resolve(str(files / "forest.skops")), threads=1)
    assert isinstance(runtime, SklearnRuntime)
    assert runtime._call.__self__.n_jobs == 1
    assert {row["prediction"] for row in predict(runtime, ROWS)} <= {"low", "mid", "top"}


def test_the_order_of_columns_is_that_of_the_training(model: Callable[[str], Artifact]) -> None:
    for name in ("linear", "lightgbm/1", "xgboost/1"):
        runtime = load_runtime(model(name))
        backwards = [dict(reversed(row.items())) for row in ROWS]
        assert predict(runtime, backwards) == predict(runtime, ROWS)


def test_a_missing_optional_number_is_nan(files: Path, tmp_path: Path) -> None:
    (tmp_path / "trees.ubj").write_bytes((files / "trees.ubj").read_bytes())
    columns = ", ".join(f'{{"name": "{name}", "type": "double", "required": false}}' for name in ROW)
    (tmp_path / "MLmodel").write_text(
        f"flavors: {{xgboost: {{data: trees.ubj}}}}\nsignature: {{inputs: '[{columns}]'}}\n"
    )
    runtime = load_runtime(resolve(str(tmp_path)))
    (answer,) = predict(runtime, [{**ROW, "a": None}])
    assert 0 < answer["prediction"] < 1


# --- boosters ---


@pytest.mark.parametrize("name", ["trees.txt", "trees.json", "trees.ubj"])
def test_a_bare_booster_takes_its_features_by_name(files: Path, name: str) -> None:
    runtime = load_runtime(resolve(str(files / name)))
    assert runtime.signature
    row = dict(zip(runtime.signature.input_names, ROW.values(), strict=True))
    (answer,) = predict(runtime, [row])
    assert 0 < answer["prediction"] < 1


def test_a_linear_booster_is_scored_through_a_matrix(files: Path) -> None:
    runtime = load_runtime(resolve(str(files / "line.json")))
    assert runtime.signature and runtime.signature.input_names == ("input",)
    assert 0 < predict(runtime, [{"input": [1.0, 2.0, 3.0]}])[0]["prediction"] < 1


def test_text_columns_of_a_booster_are_its_categories(model: Callable[[str], Artifact], files: Path) -> None:
    for runtime in (load_runtime(model("lightgbm-category/1")), load_runtime(resolve(str(files / "color.json")))):
        red, blue = predict(runtime, [{**ROW, "color": "red"}, {**ROW, "color": "blue"}])
        assert red["prediction"] - blue["prediction"] > 0.3
        assert predict(runtime, [{**ROW, "color": "red"}]) == [red]


def test_a_signature_that_does_not_show_the_categories_is_said(files: Path, tmp_path: Path) -> None:
    (tmp_path / "color.json").write_bytes((files / "color.json").read_bytes())
    columns = ", ".join(f'{{"name": "{name}", "type": "double"}}' for name in [*ROW, "color"])
    (tmp_path / "MLmodel").write_text(
        f"flavors: {{xgboost: {{data: color.json}}}}\nsignature: {{inputs: '[{columns}]'}}\n"
    )
    with pytest.raises(SchemaError, match="trained with 1 categorical columns, but the signature has 0 of type string"):
        load_runtime(resolve(str(tmp_path)))


def test_a_booster_of_other_width_is_said(files: Path, tmp_path: Path) -> None:
    for name, flavor in (("trees.txt", "lightgbm"), ("trees.ubj", "xgboost")):
        (tmp_path / name).write_bytes((files / name).read_bytes())
        (tmp_path / "MLmodel").write_text(
            f'flavors: {{{flavor}: {{data: {name}}}}}\nsignature: {{inputs: \'[{{"name": "a", "type": "double"}}]\'}}\n'
        )
        with pytest.raises(SchemaError, match="the signature has 1 columns, but the booster takes 3 features"):
            load_runtime(resolve(str(tmp_path)))


def test_a_class_that_is_not_xgboosts_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "trees.ubj").write_bytes((files / "trees.ubj").read_bytes())
    (tmp_path / "MLmodel").write_text("flavors: {xgboost: {data: trees.ubj, model_class: os.system}}")
    with pytest.raises(ModelError, match="the class system is not XGBoost's"):
        load_runtime(resolve(str(tmp_path)))


# --- pyfunc and functions ---


@MLFLOW
def test_rows_with_different_params_go_in_different_calls(model: Callable[[str], Artifact]) -> None:
    runtime = load_runtime(model("python/1"), trust=True)
    params = [{"factor": 2.0, "rows": 100}, {"factor": 3.0, "rows": 100}, {"factor": 2.0, "rows": 100}]
    answers = predict(runtime, [{**ROW, "params": found} for found in params])
    assert [row["a"] for row in answers] == [1.0 + 200, 1.5 + 100, 1.0 + 200]


@MLFLOW
def test_a_pyfunc_sees_every_type_as_mlflow_gives_it(model: Callable[[str], Artifact]) -> None:
    found = model("kinds/1")
    (first, _) = predict(load_runtime(found, trust=True), found.example or [])
    assert first["types"].split()[5:8] == ["str", "bytes", "Timestamp"]


def test_a_function_may_give_a_list_an_array_columns_or_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    forms: list[Callable[[Batch], Any]] = [
        lambda batch: [{"p": 1}, {"p": 2}],
        lambda batch: {"p": [1, 2]},
        lambda batch: pandas.DataFrame({"p": [1, 2]}),
        lambda batch: Batch([{"p": 1}, {"p": 2}]),
        lambda batch: ({"p": n} for n in (1, 2)),
    ]
    for form in forms:
        assert predict(function_runtime(form), [0, 0]) == [{"p": 1}, {"p": 2}]
    plain: list[Callable[[Batch], Any]] = [lambda batch: np.array([1, 2]), lambda batch: pandas.Series([1, 2])]
    for form in plain:
        assert predict(function_runtime(form), [0, 0]) == [1, 2]


def test_an_exception_in_a_list_is_the_outcome_of_its_row() -> None:
    runtime = function_runtime(lambda batch: [1, ValueError("x")])
    assert not runtime.native and runtime.signature is None
    answers = predict(runtime, [0, 0])
    assert answers[0] == 1 and isinstance(answers[1], ValueError)


def test_an_async_function_is_no_model() -> None:
    async def later(batch: Batch) -> list[int]:
        return [1]

    with pytest.raises(UsageError, match="is async; a Model takes a sync function"):
        function_runtime(later)


# --- outputs ---


def signature(*outputs: Column) -> Signature:
    return Signature((Column("x", Scalar("double")),), outputs)


LABELS = np.array([1, 0])
PROBABILITIES = np.array([[0.1, 0.9], [0.8, 0.2]])


@pytest.mark.parametrize(
    ("outputs", "raw", "expected"),
    [
        ((), (LABELS, PROBABILITIES), {"label": [1, 0], "p": PROBABILITIES.tolist()}),
        ((Column("p", Tensor("float64", (-1, 2))),), (LABELS, PROBABILITIES), {"p": PROBABILITIES.tolist()}),
        ((Column(None, Scalar("long")),), (PROBABILITIES, LABELS), {"prediction": [1, 0]}),
        ((Column(None, Tensor("float32", (-1, 2))),), (LABELS, PROBABILITIES), {"prediction": PROBABILITIES.tolist()}),
        (
            (Column("no", Scalar("double")), Column("yes", Scalar("double"))),
            (PROBABILITIES,),
            {"no": [0.1, 0.8], "yes": [0.9, 0.2]},
        ),
        (
            (Column("first", Scalar("long")), Column("second", Tensor("float64", (-1, 2)))),
            (LABELS, PROBABILITIES),
            {"first": [1, 0], "second": PROBABILITIES.tolist()},
        ),
        ((Column(None, Scalar("long")),), (LABELS[:, None],), {"prediction": [1, 0]}),
        ((Column(None, Tensor("int64", (-1, 1))),), (LABELS,), {"prediction": [[1], [0]]}),
        (
            (Column(None, Tensor("float64", (-1, 2))),),
            ([{0: 0.1, 1: 0.9}, {0: 0.8, 1: 0.2}],),
            {"prediction": PROBABILITIES.tolist()},
        ),
    ],
)
def test_raw_outputs_are_cut_to_the_declared_ones(outputs: Any, raw: Any, expected: Any) -> None:
    found = Fit(signature(*outputs), ["label", "p"][: len(raw)])(raw)
    assert {name: column.tolist() for name, column in found.items()} == expected


def test_outputs_that_cannot_be_cut_to_the_declared_ones_are_said() -> None:
    three = [Column(name, Scalar("double")) for name in "abc"]
    with pytest.raises(ModelError, match=r"declares the outputs a, b, c, but the model gives label \[2\], p \[2, 2\]"):
        Fit(signature(*three), ["label", "p"])((LABELS, PROBABILITIES))


def test_a_number_that_the_model_would_make_infinite_is_refused_and_the_signature_says_so(
    model: Callable[[str], Artifact],
) -> None:
    for name in ("onnx/1", "xgboost/1"):
        found = load_runtime(model(name))
        row_type: TypeAdapter[Any] = TypeAdapter(input_schema(found.signature))
        assert row_type.validate_python(ROW) == ROW
        with pytest.raises(ValueError, match="less than or equal to 340282346638528"):
            row_type.validate_python({**ROW, "a": 1e39})
