"""scikit-learn estimators, and whatever follows their interface, called directly."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.errors import ModelError, SchemaError
from hansang.extras import require
from hansang.models.artifact import Artifact
from hansang.models.runtimes.inputs import (
    Frame,
    Matrix,
    Reader,
    Values,
    common_dtype,
    lone_tensor,
    numeric,
    ordered,
)
from hansang.models.runtimes.outputs import Fit
from hansang.models.signature import Column, Scalar, Signature, Tensor, infer_signature
from hansang.models.trust import load_object

log = logging.getLogger("hansang")

MOST_PARTS = 10_000  # a longer list is a vocabulary, not an ensemble
METHODS = ("predict", "predict_proba", "predict_log_proba")
COMPILED = {"sklearn", "lightgbm", "xgboost"}


class SklearnRuntime:
    """Calls one method of an estimator with an array, or with a DataFrame where the estimator needs one."""

    bulk = 65536
    name = "sklearn"

    def __init__(self, model: Any, method: str, read: Reader, signature: Signature | None, native: bool) -> None:
        self.signature = signature
        self.native = native
        self.read = read
        self._call = getattr(model, method)
        names = [str(label) for label in getattr(model, "classes_", ())] if method != "predict" else []
        self._fit = Fit(signature, [*names, "prediction"] if len(names) < 2 else ["prediction"], single=True)

    def predict(self, batch: Batch) -> dict[str, np.ndarray]:
        """Predict a batch."""
        answer = self._call(self.read(batch))
        return self._fit(answer if isinstance(answer, list) else (np.asarray(answer),))


def load(artifact: Artifact, *, trust: bool, threads: int) -> SklearnRuntime:
    """Load an estimator; anything but skops must be trusted."""
    require("sklearn", "sklearn", "a scikit-learn model")
    flavor = artifact.flavors["sklearn"]
    file = artifact.file(flavor.get("pickled_model"), "model.skops")
    if trust and flavor.get("code"):
        sys.path.insert(0, str(artifact.file(flavor["code"])))
    model = load_object(artifact, file, flavor.get("serialization_format"), trust)
    if not hasattr(model, "predict"):
        raise ModelError(f"{file} holds a {type(model).__name__}, which has no predict; expected an estimator")
    return of_estimator(artifact, model, threads)


def of_estimator(artifact: Artifact, model: Any, threads: int) -> SklearnRuntime:
    """Make a runtime of an estimator in memory."""
    parts = list(estimators(model))
    for part in parts:
        if getattr(part, "n_jobs", None) is not None:
            part.n_jobs = threads
    native = all(type(part).__module__.partition(".")[0] in COMPILED for part in parts)
    signature = artifact.signature or own_signature(artifact, model)
    method = choose_method(artifact, model)
    if signature is None:
        raise SchemaError(
            f"{artifact.uri}: the model says neither how many features it takes nor their names; "
            "log it with mlflow and a signature"
        )
    runtime = SklearnRuntime(model, method, frame_or_tensor(signature, model), signature, native)
    matrix = quick_matrix(signature, model)
    if matrix is not None and agrees(runtime, matrix, model, parts, artifact.example):
        runtime.read = matrix
    return runtime


def own_signature(artifact: Artifact, model: Any) -> Signature | None:
    """Make a signature of what an estimator remembers of its training."""
    if artifact.example:
        return infer_signature(artifact.example)
    note = "made of what the estimator remembers; log a signature to be exact"
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return Signature(tuple(Column(str(name), Scalar("double")) for name in names), note=note)
    count = getattr(model, "n_features_in_", None)
    return Signature((Column(None, Tensor("float64", (-1, int(count)))),), note=note) if count else None


def choose_method(artifact: Artifact, model: Any) -> str:
    """Choose predict or predict_proba: as logged, or as the declared outputs ask."""
    method: str = artifact.flavors.get("python_function", {}).get("predict_fn", "predict")
    if method not in METHODS:
        raise ModelError(
            f"{artifact.uri}: predict_fn {method!r} cannot be served; expected one of {', '.join(METHODS)}"
        )
    if method == "predict" and hasattr(model, "predict_proba"):
        if wants_probabilities(artifact.signature, getattr(model, "classes_", ())):
            method = "predict_proba"
    if not hasattr(model, method):
        raise ModelError(f"{artifact.uri}: the model has no {method}")
    return method


def wants_probabilities(signature: Signature | None, classes: Any) -> bool:
    """Say whether the declared outputs are one number a class."""
    if signature is None or not isinstance(classes, np.ndarray) or len(classes) < 2:
        return False
    if len(signature.outputs) == len(classes):
        return signature.output_names == tuple(str(label) for label in classes)
    kind = signature.outputs[0].type if len(signature.outputs) == 1 else None
    return isinstance(kind, Tensor) and np.dtype(kind.dtype).kind == "f" and kind.shape[1:] == (len(classes),)


def frame_or_tensor(signature: Signature, model: Any) -> Reader:
    """Read rows in the form that MLflow would give the estimator."""
    tensor = lone_tensor(signature)
    if tensor:
        return Values(signature.input_names[0], np.dtype(tensor.dtype))
    names = getattr(model, "feature_names_in_", None)
    if names is None and numeric(signature.inputs):
        return Matrix(signature.input_names, common_dtype(signature.inputs))
    order = ordered(signature.input_names, names)
    by_name = dict(zip(signature.input_names, signature.inputs, strict=True))
    return Frame(tuple(by_name[name] for name in order), order)


def quick_matrix(signature: Signature, model: Any) -> Matrix | None:
    """Give the quicker way to read rows, if all columns are numbers."""
    if not numeric(signature.inputs):
        return None
    names = ordered(signature.input_names, getattr(model, "feature_names_in_", None))
    return Matrix(names, common_dtype(signature.inputs))


def agrees(
    runtime: SklearnRuntime, matrix: Matrix, model: Any, parts: list[Any], example: list[dict[str, Any]] | None
) -> bool:
    """Say whether an array gives the same predictions as a DataFrame, on the input example or else on made-up rows.

    The estimators then forget their feature names, or each call would warn that an array has none; the columns stand
    in the order of those names. They get them back when the predictions differ.
    """
    if runtime.read == matrix:
        return True
    batch = Batch(list(example)) if example else made_up(matrix)
    forgotten = []
    try:
        expected = runtime.predict(batch)
        forgotten = [(part, vars(part).pop("feature_names_in_")) for part in parts if "feature_names_in_" in vars(part)]
        found = SklearnRuntime.predict(with_reader(runtime, matrix), batch)
        same = all(np.array_equal(expected[name], found[name], equal_nan=is_float(found[name])) for name in expected)
    except Exception as error:  # whatever an estimator raises for an array, it gets its DataFrame
        log.debug("the model needs a DataFrame: %s", error)
        same = False
    if not same:
        for part, names in forgotten:
            part.feature_names_in_ = names
    return same


def made_up(matrix: Matrix) -> Batch:
    """Make rows for a model that has no input example."""
    values = np.random.default_rng(0).normal(scale=2, size=(16, len(matrix.fields))).astype(matrix.dtype)
    return Batch([dict(zip(matrix.fields, row, strict=True)) for row in values.tolist()])


def with_reader(runtime: SklearnRuntime, read: Reader) -> SklearnRuntime:
    """Give the same runtime with another way to read rows."""
    other = object.__new__(SklearnRuntime)
    vars(other).update(vars(runtime), read=read)
    return other


def is_float(array: np.ndarray) -> bool:
    """Say whether an array may hold NaN."""
    return array.dtype.kind == "f"


def estimators(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Give an estimator and all that it is made of."""
    seen = set() if seen is None else seen
    if id(value) in seen or (hasattr(value, "__len__") and len(value) > MOST_PARTS):
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        inner: Any = value
    elif isinstance(value, np.ndarray) and value.dtype == object:
        inner = value.ravel().tolist()
    elif isinstance(value, dict):
        inner = value.values()
    elif hasattr(value, "get_params") and hasattr(value, "__dict__"):
        yield value
        inner = list(vars(value).values())
    else:
        return
    for part in inner:
        yield from estimators(part, seen)
