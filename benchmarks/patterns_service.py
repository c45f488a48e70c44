"""One service for each pattern, named by BENCH_PATTERN; the model is the other benchmarks' logistic regression."""

import os
import time

from pydantic import BaseModel

from hansang import Batch, Model, Service, cached, fallback, node, parallel, shadow, split, switch

PATTERN = os.environ.get("BENCH_PATTERN", "plain")
SLOW_SECONDS = float(os.environ.get("BENCH_SLOW_SECONDS", "0.05"))


class Iris(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


@node
def same(batch: Batch) -> list[Iris]:
    return batch.rows


def slow(batch: Batch) -> list[int]:
    time.sleep(SLOW_SECONDS)
    return [0] * len(batch)


def model(name: str = "iris") -> Model:
    return Model(os.environ["BENCH_MLFLOW_MODEL"], name=name)


GRAPHS = {
    "plain": model,
    "chain": lambda: same >> model(),
    "switch": lambda: switch({"petal_width < 1.3": model("narrow")}, default=model("wide")),
    "split": lambda: split(
        {"champion": (model("champion"), 50), "challenger": (model("challenger"), 50)}, by="sepal_length"
    ),
    "fallback": lambda: fallback(model(), 0),
    "cache miss": lambda: cached(model(), max_rows=64),  # the load walks through more rows than that: none is found
    "cache hit": lambda: cached(model()),
    "parallel": lambda: parallel(first=model("first"), second=model("second")),
    "shadow": lambda: shadow(model(), model("candidate")),
    "cached slow": lambda: cached(Model(slow, name="slow"), max_rows=100_000),
}

service = Service("iris", GRAPHS[PATTERN](), input=Iris)
