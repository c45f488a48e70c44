"""XGBoost boosters, called directly; scikit-learn wrappers through their booster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hansang.errors import ModelError, SchemaError
from hansang.extras import require
from hansang.models.artifact import Artifact, first_line
from hansang.models.runtimes.boosters import BoosterRuntime, Score, booster_reader, booster_signature, labels, samples
from hansang.models.runtimes.inputs import Frame, narrowed
from hansang.models.runtimes.sklearn import SklearnRuntime, of_estimator
from hansang.models.signature import Scalar

BOOSTER = "Booster"
WRAPPERS = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")


def load(artifact: Artifact, *, trust: bool, threads: int) -> BoosterRuntime | SklearnRuntime:
    """Load a model that XGBoost wrote as JSON or UBJSON; neither can run code."""
    xgboost: Any = require("xgboost", "xgboost", "an XGBoost model")
    flavor = artifact.flavors["xgboost"]
    file = artifact.file(flavor.get("data"), "model.ubj", "model.json")
    name = str(flavor.get("model_class", BOOSTER)).rpartition(".")[2]
    if name not in (BOOSTER, *WRAPPERS):
        raise ModelError(
            f"{artifact.uri}: the class {name} is not XGBoost's; expected {', '.join((BOOSTER, *WRAPPERS))}"
        )
    model = read_model(getattr(xgboost, name)(), file)
    if name == BOOSTER:
        return of_booster(artifact, xgboost, model, None, (0, 0), threads)
    booster = model.get_booster()
    classes = np.asarray(model.classes_) if hasattr(model, "n_classes_") else None
    best = getattr(model, "best_iteration", None) if "best_iteration" in booster.attributes() else None
    rounds = (0, 0) if best is None else (0, int(best) + 1)
    runtime = of_booster(artifact, xgboost, booster, classes, rounds, threads)
    if isinstance(runtime.read, Frame) or same_labels(model, runtime, booster.num_features(), classes):
        return runtime
    return of_estimator(artifact, model, threads)


def read_model(model: Any, file: Path) -> Any:
    """Let XGBoost read a file, after a look at its first byte."""
    with file.open("rb") as stream:
        start = stream.read(1)
    if start != b"{":
        raise ModelError(f"{file} is not an XGBoost model; expected JSON or UBJSON that save_model wrote")
    try:
        model.load_model(file)
    except Exception as error:  # XGBoostError, and what reading its JSON raises
        raise ModelError(
            f"{file} cannot be read by XGBoost: {first_line(error)}; expected a whole file that save_model wrote"
        ) from error
    return model


def of_booster(
    artifact: Artifact, xgboost: Any, booster: Any, classes: np.ndarray | None, rounds: tuple[int, int], threads: int
) -> BoosterRuntime:
    """Make a runtime of a booster in memory."""
    booster.set_param({"nthread": threads})
    names, count = booster.feature_names, booster.num_features()
    types = zip(names or (), booster.feature_types or (), strict=False)
    categories = [name for name, kind in types if kind == "c"]
    signature = artifact.signature or booster_signature(names, count, categories)
    texts = sum(column.type == Scalar("string") for column in signature.inputs)
    if texts != len(categories):
        raise SchemaError(
            f"{artifact.uri}: the booster was trained with {len(categories)} categorical columns, but the signature "
            f"has {texts} of type string; declare exactly those as strings"
        )
    read = booster_reader(signature, names, count, np.float32)
    signature = narrowed(signature, signature.input_names)
    score = scorer(xgboost, booster, rounds, isinstance(read, Frame))
    return BoosterRuntime("xgboost", score, read, signature, classes)


def scorer(xgboost: Any, booster: Any, rounds: tuple[int, int], frame: bool) -> Score:
    """Choose in-place prediction; a DMatrix for categories, and for boosters that have no in-place prediction."""

    def through_matrix(rows: Any) -> np.ndarray:
        names = None if frame else booster.feature_names
        data = xgboost.DMatrix(rows, feature_names=names, enable_categorical=frame)
        return np.asarray(booster.predict(data, iteration_range=rounds))

    def in_place(rows: np.ndarray) -> np.ndarray:
        return np.asarray(booster.inplace_predict(rows, iteration_range=rounds))

    if frame:
        return through_matrix
    try:
        rows = samples(booster.num_features()).astype(np.float32)
        same = np.array_equal(in_place(rows), through_matrix(rows))
    except xgboost.core.XGBoostError:  # linear boosters
        same = False
    return in_place if same else through_matrix


def same_labels(model: Any, runtime: BoosterRuntime, count: int, classes: np.ndarray | None) -> bool:
    """Say whether a wrapper's predictions are its booster's, turned into labels; a custom objective's are not."""
    rows = samples(count).astype(np.float32)
    scores = runtime.score(rows)
    if classes is not None:
        if scores.ndim > 1 and scores.shape[1] != len(classes):
            return False
        scores = labels(classes, scores)
    return bool(np.array_equal(model.predict(rows), scores))
