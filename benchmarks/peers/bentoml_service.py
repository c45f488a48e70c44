"""BentoML with adaptive batching, as its guide on batching shows it."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from iris_model import load


@bentoml.service(workers=1)
class Iris:
    def __init__(self) -> None:
        self.model = load()

    @bentoml.api(batchable=True)
    def predict(self, rows: Annotated[np.ndarray, Shape((-1, 4)), DType("float64")]) -> np.ndarray:
        return np.asarray(self.model(rows))
