"""LitServe with batching, as its guide shows it."""

import os

import litserve
from iris_model import load

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Iris(litserve.LitAPI):
    def setup(self, device):
        self.model = load()

    def decode_request(self, request):
        return [float(request[name]) for name in NAMES]

    def batch(self, inputs):
        return inputs

    def predict(self, x):
        return self.model(x)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"label": output}


if __name__ == "__main__":
    server = litserve.LitServer(Iris(max_batch_size=64, batch_timeout=0.001), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), generate_client_file=False, log_level="warning")
