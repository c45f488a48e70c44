"""Trains a small classifier and registers it as an ONNX model: `python register.py`, in the project's folder."""

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]

x, y = load_iris(return_X_y=True)
onnx = to_onnx(LogisticRegression(max_iter=1000).fit(x, y), np.zeros((1, 4), np.float32), options={"zipmap": False})
onnx = select_model_inputs_outputs(onnx, outputs=["label"])
example = pd.DataFrame(x[:2], columns=NAMES)
info = mlflow.onnx.log_model(
    onnx,
    name="flowers",
    registered_model_name="flowers",
    signature=infer_signature(example, {"label": y[:2]}),
    input_example=example,
    pip_requirements=["onnxruntime"],
)
MlflowClient().set_registered_model_alias("flowers", "champion", info.registered_model_version)
