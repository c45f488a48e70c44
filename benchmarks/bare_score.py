"""The bare model on the whole array at once: `bare_score.py MODEL INPUT OUTPUT`.

Prints the seconds of the call itself, and of the whole job: import, read, predict, write.
"""

import json
import sys
import time

started = time.perf_counter()

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402


def main(model: str, source: str, target: str) -> None:
    predict = load_model(model)
    loaded = time.perf_counter()
    table = pq.read_table(source)
    array = np.column_stack([column.to_numpy() for column in table.columns])
    predict(array[:100])
    called = time.perf_counter()
    labels = predict(array)
    ended = time.perf_counter()
    pq.write_table(table.append_column("label", pa.array(labels)), target)
    done = time.perf_counter()
    print(json.dumps({"call_s": ended - called, "load_s": loaded - started, "job_s": done - started}))


def load_model(path: str):
    """Return a function from an array of rows to an array of labels."""
    if path.endswith(".joblib"):
        import joblib

        return joblib.load(path).predict
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(["label"], {name: array.astype(np.float32)})[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
