"""Challengers that pass every verification and are no good: one raises, one is slow, one gives constants."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from tests.models.steps import STEP, write


def onnx_bytes(fault: str) -> bytes:
    """Make the model of a fault; its answers are those of version 1 otherwise."""
    from onnx import TensorProto, helper, numpy_helper

    base = numpy_helper.from_array(np.array(STEP, np.float32), "base")
    weights = [base]
    nodes = [helper.make_node("Add", ["x", "base"], ["y"])]
    if fault == "raises":  # a place in a table that is not there, but for the input example
        weights.append(numpy_helper.from_array(np.full(4, STEP, np.float32), "table"))
        nodes = [
            helper.make_node("Cast", ["x"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["found"]),
            helper.make_node("Add", ["x", "found"], ["y"]),
        ]
    elif fault == "constant":
        nodes = [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Add", ["zero", "base"], ["y"])]
    elif fault == "slow":  # a product that counts for nothing
        weights.append(numpy_helper.from_array(np.zeros((700, 700), np.float32), "zeros"))
        nodes = [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Add", ["zeros", "sum"], ["filled"]),
            helper.make_node("MatMul", ["filled", "zeros"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["x", "base"], ["right"]),
            helper.make_node("Add", ["right", "nothing"], ["y"]),
        ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, fault, inputs, outputs, weights)
    opset = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return made


def put(registry: str, version: str, fault: str, folder: Path) -> None:
    """Let a version of `steps` be the model of a fault."""
    place = write(folder / fault, 1)
    (place / "model.onnx").write_bytes(onnx_bytes(fault))
    with sqlite3.connect(registry.removeprefix("sqlite:///")) as rows:
        rows.execute(
            "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = 'steps' AND version = ?",
            (str(place), str(place), int(version)),
        )
    rows.close()
