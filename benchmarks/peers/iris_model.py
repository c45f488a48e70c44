"""What every peer that answers predictions calls: rows of four numbers in, class labels out.

The file named by BENCH_MODEL decides the runtime, so that a peer's own code is the same for both.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np

Predict = Callable[[Sequence[Sequence[float]] | np.ndarray], list[int]]


def load() -> Predict:
    path = os.environ["BENCH_MODEL"]
    return _onnx(path) if path.endswith(".onnx") else _sklearn(path)


def _sklearn(path: str) -> Predict:
    import joblib

    model = joblib.load(path)

    def predict(rows: Sequence[Sequence[float]] | np.ndarray) -> list[int]:
        return model.predict(np.asarray(rows)).tolist()

    return predict


def _onnx(path: str) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # for one row a second thread only spins, at the peer's cost
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(rows: Sequence[Sequence[float]] | np.ndarray) -> list[int]:
        (labels,) = session.run(["label"], {name: np.asarray(rows, dtype=np.float32)})
        return labels.tolist()

    return predict
