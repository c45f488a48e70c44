"""Hansang as a service file: the user's own pydantic model, one model node."""

import os

from pydantic import BaseModel

from hansang import Model, Service


class Iris(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


service = Service("iris", Model(os.environ["BENCH_MLFLOW_MODEL"]), input=Iris)
