"""Train the classifier of reviews on the encoder's embeddings and register it: `opinion`, alias `champion`.

    python examples/text/make_models.py          # once: the encoder
    python examples/text/train.py

The run in MLflow says what a version was made of: parameters, metrics, the data and the encoder with their hashes, the
code, Python and the packages. The model is ONNX, so serving it needs no trust; it has a signature, an input example,
and golden requests that it must answer before it is served. Goes to the registry in MLFLOW_TRACKING_URI, else to
`mlflow.db` in the working folder.
"""

import hashlib
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import make_models
import minilm
import mlflow
import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

NAME, ALIAS = "opinion", "champion"
GOLDEN = 8
SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, minilm.SIZE), "embedding")]),
    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 2), "probabilities")]),
)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def environment() -> dict[str, str]:
    packages = ("mlflow", "numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "tokenizers")
    return {"python": platform.python_version(), "platform": platform.platform()} | {p: version(p) for p in packages}


def log_run(classifier: Any, embeddings: np.ndarray, positive: np.ndarray, accuracy: float, encoder: Path) -> None:
    """Say in the run what the model is made of, and how good it is; MLflow notes the commit itself."""
    data = sha256(make_models.DATA)
    mlflow.log_params({"classifier": type(classifier).__name__, "C": classifier.C, "max_iter": classifier.max_iter})
    mlflow.log_params({"data_sha256": data, "encoder_sha256": sha256(encoder)})
    mlflow.log_metrics({"accuracy": accuracy})
    given = mlflow.data.from_numpy(embeddings, targets=positive, name=make_models.DATA.stem, digest=data[:36])  # type: ignore[attr-defined]  # made when it is imported
    mlflow.log_input(given, context="training")
    found = environment()
    code = "+".join(sha256(Path(module)) for module in (__file__, str(make_models.__file__)))
    mlflow.set_tags({"code": f"sha256:{code}", "python": found["python"], "data_rows": len(embeddings)})
    mlflow.log_dict(found, "environment.json")


def log_model(graph: Any, embeddings: np.ndarray) -> str:
    """Log the model with all that serving asks for, register it and make it the champion; give its version."""
    info = mlflow.onnx.log_model(
        graph,
        name="model",
        signature=SIGNATURE,
        input_example={"embedding": embeddings[:2]},
        pip_requirements=[f"onnxruntime=={version('onnxruntime')}", f"onnx=={version('onnx')}"],
    )
    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / "golden.jsonl"
        golden.write_text("".join(json.dumps(line) + "\n" for line in golden_requests(graph, embeddings)))
        MlflowClient().log_model_artifact(info.model_id, str(golden))
    new = mlflow.register_model(f"models:/{info.model_id}", NAME).version
    MlflowClient().set_registered_model_alias(NAME, ALIAS, new)
    return str(new)


def golden_requests(graph: Any, embeddings: np.ndarray) -> list[dict[str, Any]]:
    """Give some embeddings, spread over the reviews, and what the model says to each."""
    some = embeddings[:: max(len(embeddings) // GOLDEN, 1)][:GOLDEN]
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (said,) = session.run(None, {"embedding": some})
    return [
        {"input": {"embedding": row.tolist()}, "output": {"probabilities": y.tolist()}, "rtol": 0.001}
        for row, y in zip(some, said, strict=True)
    ]


def main() -> None:
    encoder, made = make_models.FOLDER / "minilm.onnx", make_models.FOLDER / "embeddings.npy"
    if not made.exists():
        sys.exit(f"no {made}; make it once: python examples/text/make_models.py")
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    embeddings = np.load(made)
    positive = pq.read_table(make_models.DATA)["rating"].to_numpy() > 0
    classifier, accuracy = make_models.train(embeddings, positive)
    mlflow.set_experiment(NAME)
    with mlflow.start_run():
        log_run(classifier, embeddings, positive, accuracy, encoder)
        new = log_model(make_models.to_graph(classifier, embeddings), embeddings)
    print(f"accuracy {accuracy:.3f} on reviews that it has not seen")
    print(f"registered: models:/{NAME}@{ALIAS}, version {new}")


if __name__ == "__main__":
    main()
