"""mosec with dynamic batching: its Rust front, one Python worker."""

from iris_model import load
from mosec import Server, Worker

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Iris(Worker):
    def __init__(self) -> None:
        self.model = load()

    def forward(self, data: list[dict[str, float]]) -> list[dict[str, int]]:
        labels = self.model([[float(row[name]) for name in NAMES] for row in data])
        return [{"label": label} for label in labels]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Iris, num=1, max_batch_size=64, max_wait_time=1)
    server.run()
