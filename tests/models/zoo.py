"""Trains and logs the small models that the tests read; run in a process of its own, so that mlflow stays out of the
tests'. `python zoo.py registry|server|files FOLDER`; the registry is where MLFLOW_TRACKING_URI says.
"""

from __future__ import annotations

import datetime
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_REQUIREMENTS_INFERENCE_RAISE_ERRORS"] = "false"

RANDOM = np.random.default_rng(1)
TABLE = pd.DataFrame(RANDOM.normal(size=(80, 3)), columns=["a", "b", "c d"])
LABEL = (TABLE["a"] > 0).astype(int)
THREE = np.array(["low", "mid", "top"])[np.digitize(TABLE["b"], [-0.5, 0.5])]
COLORS = np.array(["red", "green", "blue"])[RANDOM.integers(0, 3, 80)]


class Odd(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """A type that no library has."""


def registry() -> None:
    """Log one model of each kind."""
    import lightgbm
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx

    def log(flavor: str, model: Any, name: str, **more: Any) -> None:
        key = {"sklearn": "sk_model", "lightgbm": "lgb_model", "xgboost": "xgb_model", "onnx": "onnx_model"}
        args = {key.get(flavor, "python_model"): model, "name": name, "registered_model_name": name}
        getattr(mlflow, flavor).log_model(**args, pip_requirements=[], **more)

    client = mlflow.MlflowClient()
    linear = LogisticRegression().fit(TABLE, LABEL)
    one = TABLE.head(2)
    with mlflow.start_run():
        log("sklearn", linear, "linear", signature=infer_signature(TABLE, linear.predict(TABLE)), input_example=one)
    proba = linear.predict_proba(TABLE)
    log("sklearn", linear, "linear", signature=infer_signature(TABLE, proba), input_example=one.to_numpy())
    client.set_registered_model_alias("linear", "champion", "1")
    client.set_registered_model_alias("linear", "challenger", "2")
    log("sklearn", linear, "pickled", serialization_format="cloudpickle", input_example=one)

    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    mixed = TABLE.assign(color=COLORS)
    encode = make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough")
    pipe = make_pipeline(encode, LogisticRegression()).fit(mixed, THREE)
    log("sklearn", pipe, "mixed", signature=infer_signature(mixed, pipe.predict(mixed)), input_example=mixed.head(3))

    quiet = {"verbosity": -1, "num_threads": 1}
    booster = lightgbm.train({"objective": "regression", **quiet}, lightgbm.Dataset(TABLE, TABLE["a"]), 5)
    log("lightgbm", booster, "lightgbm", input_example=one)
    wrapped = lightgbm.LGBMClassifier(n_estimators=4, verbosity=-1, n_jobs=1).fit(TABLE, THREE)
    log("lightgbm", wrapped, "lightgbm-wrapped", input_example=one)
    category = mixed.assign(color=mixed["color"].astype("category"))
    by_color = lightgbm.train(
        {"objective": "regression", "min_data_in_leaf": 2, **quiet},
        lightgbm.Dataset(category, (COLORS == "red") * 1.0 + TABLE["a"]),
        8,
    )
    log("lightgbm", by_color, "lightgbm-category", signature=infer_signature(mixed, by_color.predict(category)))

    data = xgboost.DMatrix(TABLE, LABEL)
    log("xgboost", xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 4), "xgboost", input_example=one)
    classes = np.unique(THREE, return_inverse=True)[1]
    log(
        "xgboost",
        xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(TABLE, classes),
        "xgboost-wrapped",
        input_example=one,
    )

    graph = to_onnx(linear, TABLE.to_numpy()[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
    log("onnx", graph, "onnx", signature=infer_signature(TABLE, proba), input_example=one)
    log("onnx", graph, "onnx-example", input_example=one.to_numpy(np.float32))

    python_models(log, mlflow.pyfunc.PythonModel)
    client.create_registered_model("empty")


def python_models(log: Any, base: Any) -> None:
    """Log models that are Python code."""

    class Scaled(base):  # type: ignore[misc]  # mlflow's class, known at run time only
        calls: list[Any] = []

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input["a"] * params["factor"] + len(model_input) * params["rows"]

    params = {"factor": 2.0, "rows": 0}
    log("pyfunc", Scaled(), "python", input_example=(TABLE.head(2), params))

    class Hinted(base):  # type: ignore[misc]  # mlflow's class, known at run time only
        def predict(self, model_input: list[str], params: Any = None) -> list[str]:
            return [text.upper() for text in model_input]

    log("pyfunc", Hinted(), "hinted", input_example=["one", "two"])

    class Kinds(base):  # type: ignore[misc]  # mlflow's class, known at run time only
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return pd.DataFrame(
                {"types": [" ".join(type(v).__name__ for v in row) for row in model_input.to_numpy(object)]}
            )

    log("pyfunc", Kinds(), "kinds", input_example=kinds())


def kinds() -> pd.DataFrame:
    """Make a frame with a column of each type."""
    return pd.DataFrame(
        {
            "boolean": [True, False],
            "integer": np.array([1, 2], np.int32),
            "long": [1, 2],
            "float": np.array([1, 2.5], np.float32),
            "double": [1.0, 2.5],
            "string": ["x", "y"],
            "binary": [b"hi", b"\x00\xff"],
            "datetime": [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5)],
            "optional": [1.5, None],
            "list": [[1.0], [2.0, 3.0]],
            "object": [{"x": 1}, {"x": 2, "y": "z"}],
        }
    )


def server() -> None:
    """Log two versions of a model through a server."""
    import mlflow

    client = mlflow.MlflowClient()
    with mlflow.start_run():
        linear = LogisticRegression().fit(TABLE, LABEL)
        more = {"input_example": TABLE.head(2), "pip_requirements": []}
        found = mlflow.sklearn.log_model(linear, name="model", registered_model_name="linear", **more)
    client.create_model_version("linear", found.model_uri, model_id=found.model_id)
    client.set_registered_model_alias("linear", "champion", "1")
    client.set_registered_model_alias("linear", "challenger", "2")
    client.create_registered_model("faces")


def files(folder: Path) -> None:
    """Write bare model files."""
    import joblib
    import lightgbm
    import skops.io
    import xgboost
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    plain = TABLE.to_numpy()
    linear = LogisticRegression().fit(plain, LABEL)
    for name, zipmap in (("linear.onnx", False), ("zipmap.onnx", True)):
        graph = to_onnx(linear, plain[:1].astype(np.float32), options={"zipmap": zipmap}, target_opset=17)
        (folder / name).write_bytes(graph.SerializeToString())
    mixed = TABLE.assign(color=COLORS)
    quiet = {"verbosity": -1, "num_threads": 1}
    lightgbm.train({"objective": "binary", **quiet}, lightgbm.Dataset(TABLE, LABEL), 4).save_model(folder / "trees.txt")
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(TABLE, LABEL), 4)
    booster.save_model(folder / "trees.json")
    booster.save_model(folder / "trees.ubj")
    line = xgboost.train({"booster": "gblinear", "nthread": 1}, xgboost.DMatrix(plain, LABEL), 4)
    line.save_model(folder / "line.json")
    category = mixed.assign(color=mixed["color"].astype("category"))
    target = (COLORS == "red") * 1.0 + TABLE["a"]
    by_color = xgboost.train({"nthread": 1}, xgboost.DMatrix(category, target, enable_categorical=True), 5)
    by_color.save_model(folder / "color.json")
    joblib.dump(linear, folder / "linear.joblib")
    forest = RandomForestClassifier(5, n_jobs=-1, random_state=0).fit(TABLE, THREE)
    skops.io.dump(forest, folder / "forest.skops")
    skops.io.dump(Odd().fit(plain, LABEL), folder / "odd.skops")
    wrapped = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(plain, LABEL)
    skops.io.dump(wrapped, folder / "wrapped.skops")


if __name__ == "__main__":
    task, place = sys.argv[1:]
    if task == "files":
        files(Path(place))
    else:
        {"registry": registry, "server": server}[task]()
