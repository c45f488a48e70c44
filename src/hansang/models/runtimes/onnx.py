"""ONNX models on ONNX Runtime's session, without onnx, mlflow or pandas."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.errors import ModelError, SchemaError
from hansang.extras import require
from hansang.models.artifact import Artifact, first_line
from hansang.models.runtimes.inputs import Matrix, Values, grouped, narrowed, numeric, scattered
from hansang.models.runtimes.onnx_file import check_references
from hansang.models.runtimes.outputs import Fit
from hansang.models.signature import INPUT, Anything, Column, Map, Scalar, Signature, Tensor, Type

DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint64": np.uint64,
    "uint32": np.uint32,
    "uint16": np.uint16,
    "uint8": np.uint8,
    "bool": np.bool_,
    "string": np.object_,
}


class OnnxRuntime:
    """Runs an ONNX model on the CPU; rows go in one call, one by one where the file fixes its batch at one row."""

    bulk = 8192
    name = "onnx"
    native = True

    def __init__(self, session: Any, signature: Signature, one_by_one: bool) -> None:
        self._run = session.run
        self._inputs = readers(session.get_inputs(), signature)
        self.signature = narrowed(signature, float32_fields(self._inputs))
        self._single = self._inputs[0] if len(self._inputs) == 1 else None
        self._fit = Fit(signature, [output.name for output in session.get_outputs()])
        self._wanted: list[str] = list(self._fit.names)
        self._one_by_one = one_by_one
        self._ragged = [n for n, c in zip(signature.input_names, signature.inputs, strict=True) if ragged(c.type)]

    def predict(self, batch: Batch) -> dict[str, np.ndarray] | list[Any]:
        """Predict a batch; rows whose tensors have different lengths go in calls of their own."""
        if len(batch) > 1:
            if self._one_by_one:
                return scattered(len(batch), [([n], self._call(batch.slice(n, n + 1))) for n in range(len(batch))])
            if self._ragged:
                return self._by_shape(batch)
        return self._call(batch)

    def _call(self, batch: Batch) -> dict[str, np.ndarray]:
        if self._single:
            name, read = self._single
            return self._fit(self._run(self._wanted, {name: read(batch)}))
        return self._fit(self._run(self._wanted, {name: read(batch) for name, read in self._inputs}))

    def _by_shape(self, batch: Batch) -> dict[str, np.ndarray] | list[Any]:
        groups = grouped(batch, self._shape)
        if len(groups) == 1:
            return self._call(batch)
        return scattered(len(batch), [(rows, self._call(batch.take(rows))) for _, rows in groups])

    def _shape(self, row: Any) -> Hashable:
        return tuple(shape_of(row[name]) for name in self._ragged)


def load(artifact: Artifact, *, trust: bool, threads: int) -> OnnxRuntime:
    """Load an ONNX file; external tensors outside its folder and operators from other libraries are refused."""
    ort: Any = require("onnxruntime", "onnx", "an ONNX model")
    file = artifact.file(artifact.flavors["onnx"].get("data"), "model.onnx")
    if file.is_dir():
        file = file / "model.onnx"
    check_references(file)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # it grows to the largest batch ever seen and never shrinks
    options.enable_mem_pattern = False  # one more plan kept for every batch size
    try:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class but Exception
        raise ModelError(
            f"{file} cannot be loaded by ONNX Runtime: {first_line(error)}; expected an ONNX model of its own operators"
        ) from error
    inputs = session.get_inputs()
    signature = artifact.signature or declared(inputs, session.get_outputs(), artifact.example)
    return OnnxRuntime(session, signature, fixed_batch(inputs, artifact) == 1)


def fixed_batch(inputs: Sequence[Any], artifact: Artifact) -> int | None:
    """Give the number of rows that the file fixes, None when it leaves it open; more than one is refused."""
    sizes = {node.shape[0] for node in inputs if node.shape and isinstance(node.shape[0], int) and node.shape[0] >= 0}
    if sizes - {1}:
        raise ModelError(
            f"{artifact.uri}: the file fixes its batch at {max(sizes)} rows; export it with a dynamic first axis"
        )
    return 1 if sizes else None


def declared(inputs: Sequence[Any], outputs: Sequence[Any], example: list[dict[str, Any]] | None) -> Signature:
    """Make a signature of what the file says; the only input is unnamed if the logged example has it so."""
    unnamed = len(inputs) == 1 and bool(example) and INPUT in (example or [{}])[0]
    columns = tuple(Column(None if unnamed else node.name, onnx_type(node)) for node in inputs)
    return Signature(
        columns, tuple(Column(node.name, onnx_type(node)) for node in outputs), note="declared by the ONNX file"
    )


def onnx_type(node: Any) -> Type:
    """Read an ONNX type such as tensor(float) or seq(map(int64,tensor(float)))."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if node.type.startswith("seq(map("):
        return Map(Scalar("double"))
    if kind not in DTYPES or not node.shape:
        return Anything()
    dims = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape[1:])
    return Tensor(str(np.dtype(DTYPES[kind])), (-1, *dims))


def readers(inputs: Sequence[Any], signature: Signature) -> list[tuple[str, Matrix | Values]]:
    """Choose how each of the file's inputs is read from the rows; a `SchemaError` when they do not fit."""
    names, columns = signature.input_names, signature.inputs
    known = {node.name: node for node in inputs}
    if set(names) == set(known) and len(columns) == len(names):
        return [(name, value_reader(known[name], name)) for name in names]
    if len(inputs) == 1:
        node = inputs[0]
        if len(columns) == 1 and not isinstance(columns[0].type, Scalar):
            return [(node.name, value_reader(node, names[0]))]
        if numeric(columns) or len(columns) == 1 or dtype_of(node).kind == "O":
            return [(node.name, matrix_reader(node, names))]
    raise SchemaError(
        f"the signature's inputs {', '.join(names)} do not fit the ONNX file's: "
        + ", ".join(f"{node.name} {node.type} {node.shape}" for node in inputs)
    )


def matrix_reader(node: Any, names: tuple[str, ...]) -> Matrix | Values:
    """Read scalar columns into one input of shape (rows, columns)."""
    width = node.shape[1] if len(node.shape) == 2 else None
    if len(node.shape) == 1 and len(names) == 1:
        return Values(names[0], dtype_of(node))
    if len(node.shape) not in (0, 2) or (isinstance(width, int) and width != len(names)):
        raise SchemaError(
            f"the signature has {len(names)} columns, but the ONNX file's input {node.name} has the shape {node.shape}"
        )
    return Matrix(names, dtype_of(node))


def value_reader(node: Any, name: str) -> Matrix | Values:
    """Read one column into one input."""
    return Values(name, dtype_of(node), len(node.shape) or None)


def float32_fields(inputs: Sequence[tuple[str, Matrix | Values]]) -> set[str]:
    """Name the fields that the file takes as 32-bit floats."""
    narrow = [read for _, read in inputs if read.dtype == np.float32]
    return {name for read in narrow for name in (read.fields if isinstance(read, Matrix) else (read.field,))}


def dtype_of(node: Any) -> np.dtype[Any]:
    """Give the numpy dtype of an ONNX input."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in DTYPES:
        raise SchemaError(f"the ONNX file's input {node.name} has the type {node.type}, which rows cannot hold")
    return np.dtype(DTYPES[kind])


def ragged(kind: Type) -> bool:
    """Say whether two rows of this type may have different shapes."""
    return isinstance(kind, Tensor) and -1 in kind.shape[1:] or not isinstance(kind, Scalar | Tensor)


def shape_of(value: Any) -> tuple[int, ...]:
    """Give the lengths of nested lists."""
    if isinstance(value, np.ndarray):
        return tuple(value.shape)
    return (len(value), *shape_of(value[0])) if isinstance(value, list) and value else ()
