"""LightGBM boosters, called directly; scikit-learn wrappers too, through their booster where that gives the same."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from hansang.errors import ModelError, SchemaError
from hansang.extras import require
from hansang.models.artifact import Artifact, first_line
from hansang.models.runtimes.boosters import BoosterRuntime, booster_reader, booster_signature, labels, samples
from hansang.models.runtimes.inputs import Frame
from hansang.models.runtimes.sklearn import SklearnRuntime, of_estimator
from hansang.models.signature import Scalar, Signature
from hansang.models.trust import load_object

BOOSTER = "lightgbm.basic.Booster"


def load(artifact: Artifact, *, trust: bool, threads: int) -> BoosterRuntime | SklearnRuntime:
    """Load a booster's text file, or a wrapper: skops by our list of types, a pickle only when trusted."""
    lightgbm: Any = require("lightgbm", "lightgbm", "a LightGBM model")
    flavor = artifact.flavors["lightgbm"]
    file = artifact.file(flavor.get("data"), "model.lgb")
    if flavor.get("model_class", BOOSTER) == BOOSTER:
        return of_booster(artifact, read_booster(lightgbm, file), None, threads)
    model = load_object(artifact, file, flavor.get("serialization_format", "pickle"), trust)
    if not isinstance(model, lightgbm.LGBMModel):
        raise ModelError(f"{file} holds a {type(model).__name__}; expected a LightGBM model")
    booster = model.booster_
    if booster.pandas_categorical or not same_scores(model, booster, threads):
        return of_estimator(artifact, model, threads)
    return of_booster(artifact, booster, getattr(model, "classes_", None), threads)


def read_booster(lightgbm: Any, file: Path) -> Any:
    """Read a booster's text file, after a look at whether it is whole."""
    text = file.read_bytes()
    if not text.startswith(b"tree\n"):
        raise ModelError(f"{file} is not a LightGBM model; expected a text file that Booster.save_model wrote")
    if not whole(text):
        raise ModelError(f"{file} is cut short or changed; expected a whole file that Booster.save_model wrote")
    try:
        return lightgbm.Booster(model_file=str(file))
    except Exception as error:  # LightGBMError, and what its parser of categories raises
        raise ModelError(
            f"{file} cannot be read by LightGBM: {first_line(error)}; expected what Booster.save_model wrote"
        ) from error


def whole(text: bytes) -> bool:
    """Say whether all trees that the header announces are there, and the parameters to their end.

    LightGBM does not refuse a file that is cut short: it ends the process.
    """
    header, _, trees = text.partition(b"\n\n")
    try:
        sizes = [int(size) for size in header.partition(b"\ntree_sizes=")[2].partition(b"\n")[0].split()]
    except ValueError:
        return False
    start = 0
    for number, size in enumerate(sizes):
        if not trees.startswith(b"Tree=%d\n" % number, start):
            return False
        start += size
    end = trees[start:]
    return end.startswith(b"end of trees") and (b"\nparameters:" not in end or b"\nend of parameters" in end)


def of_booster(artifact: Artifact, booster: Any, classes: np.ndarray | None, threads: int) -> BoosterRuntime:
    """Make a runtime of a booster in memory."""
    names, count = booster.feature_name(), booster.num_feature()
    plain = [f"Column_{n}" for n in range(count)]
    signature = artifact.signature or booster_signature(None if names == plain else names, count)
    read = booster_reader(signature, own_names(names, signature), count, np.float64)
    check_categories(artifact, booster, signature, isinstance(read, Frame))
    score = functools.partial(booster.predict, num_threads=threads)
    return BoosterRuntime("lightgbm", score, read, signature, classes)


def own_names(names: list[str], signature: Signature) -> list[str]:
    """Undo what LightGBM does to names: spaces become underscores in a saved file."""
    said = {name.replace(" ", "_"): name for name in signature.input_names}
    return [said.get(name, name) for name in names]


def check_categories(artifact: Artifact, booster: Any, signature: Signature, frame: bool) -> None:
    """Refuse a booster whose categories the signature does not show: they would be read as plain numbers."""
    trained = len(booster.pandas_categorical or ())
    texts = sum(column.type == Scalar("string") for column in signature.inputs)
    if trained != texts:
        raise SchemaError(
            f"{artifact.uri}: the booster was trained with {trained} categorical columns, but the signature has "
            f"{texts} of type string; declare exactly those as strings"
        )


def same_scores(model: Any, booster: Any, threads: int) -> bool:
    """Say whether a wrapper's predictions are its booster's, turned into labels; a custom objective's are not."""
    if callable(model.objective):
        return False
    pandas: Any = require("pandas", "mlflow", "a LightGBM wrapper")
    rows = samples(booster.num_feature())
    scores = booster.predict(rows, num_threads=threads)
    classes = getattr(model, "classes_", None)
    if classes is not None:
        scores = labels(classes, scores)
    return bool(np.array_equal(model.predict(pandas.DataFrame(rows, columns=booster.feature_name())), scores))
