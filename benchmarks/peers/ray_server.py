"""Ray Serve with `@serve.batch`, one replica, limits raised so that batches can form."""

import os
import signal

import ray
from iris_model import load
from ray import serve
from starlette.requests import Request

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class Iris:
    def __init__(self) -> None:
        self.model = load()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def predict(self, rows: list[list[float]]) -> list[int]:
        return self.model(rows)

    async def __call__(self, request: Request) -> dict[str, int]:
        row = await request.json()
        return {"label": await self.predict([float(row[name]) for name in NAMES])}


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=200 * 1024 * 1024,
        runtime_env={"env_vars": {"BENCH_MODEL": os.environ["BENCH_MODEL"], "PYTHONPATH": here}},
        logging_level="warning",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    serve.run(Iris.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
