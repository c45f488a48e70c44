"""Train the two models once and write every form a peer needs, under `.bench/models`.

The ONNX form answers the label alone, as every peer does: no zipmap, and no probabilities, which MLflow could not put
in its one table.
"""

import json
import shutil

import numpy as np
from environments import BENCH, pins

MODELS = BENCH / "models"
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
LOW, HIGH = (4.3, 2.0, 1.0, 0.1), (7.9, 4.4, 6.9, 2.5)
SEED = 20


def rows(count: int, seed: int = SEED) -> np.ndarray:
    """Draw rows evenly over the range of the training data, rounded as people write measurements."""
    return np.random.default_rng(seed).uniform(LOW, HIGH, size=(count, 4)).round(2)


def ensure_models() -> None:
    """Write the models unless this set is already there, made by the same versions."""
    stamp = MODELS / "stamp.json"
    made_by = json.dumps(pins())
    if stamp.exists() and stamp.read_text() == made_by:
        return
    shutil.rmtree(MODELS, ignore_errors=True)
    MODELS.mkdir(parents=True)
    for name, estimator in _train().items():
        _write(name, estimator)
    stamp.write_text(made_by)


def expected(name: str, batch: np.ndarray) -> list[int]:
    """Return the labels scikit-learn gives, which every peer's answers are compared with."""
    import joblib

    return joblib.load(MODELS / f"{name}.joblib").predict(batch).tolist()


def _train() -> dict:
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    return {
        "logreg": LogisticRegression(max_iter=1000).fit(x, y),
        "forest": RandomForestClassifier(n_estimators=100, random_state=0).fit(x, y),
    }


def _write(name: str, estimator) -> None:
    import joblib
    import mlflow
    import onnx
    import pandas as pd
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    joblib.dump(estimator, MODELS / f"{name}.joblib")
    converted = to_onnx(estimator, np.zeros((1, 4), dtype=np.float32), options={"zipmap": False})
    converted = select_model_inputs_outputs(converted, outputs=["label"])
    onnx.save(converted, MODELS / f"{name}.onnx")
    example = pd.DataFrame(rows(2), columns=FEATURES)
    labels = estimator.predict(example.to_numpy())
    about = {"input_example": example, "pip_requirements": [pin for pin in pins() if not pin.startswith("mlflow")]}
    mlflow.sklearn.save_model(
        estimator,
        MODELS / f"{name}-sklearn",
        signature=infer_signature(example, labels),
        serialization_format="cloudpickle",
        **about,
    )
    mlflow.onnx.save_model(
        converted,
        MODELS / f"{name}-onnx",
        signature=infer_signature(example, {"label": labels}),
        onnx_execution_providers=["CPUExecutionProvider"],
        **about,
    )
    _write_mlserver(name)


def _write_mlserver(name: str) -> None:
    folder = MODELS / f"{name}-mlserver"
    folder.mkdir()
    settings = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
        "parameters": {"uri": str(MODELS / f"{name}.joblib"), "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2))


if __name__ == "__main__":
    ensure_models()
