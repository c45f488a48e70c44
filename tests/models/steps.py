"""Versions of a small ONNX model whose predictions tell which version made them: y = x + 1000 · version.

`write` makes a model folder without mlflow; `register` and `upload` make versions of folders by mlflow's own client, in
a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hansang.models.manifest import write_manifest

ROOT = Path(__file__).parents[2]
STEP = 1000.0
GOOD = 6


def onnx_bytes(number: int, weights: int = 16, output: str = "y") -> bytes:
    """Make the model; its table has so many weights, of which the first is added to the row."""
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros(weights, np.float32)
    table[0] = STEP * number
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Cast", ["zero"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["base"]),
        helper.make_node("Add", ["x", "base"], [output]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, "steps", inputs, outputs, [numpy_helper.from_array(table, "table")])
    opset = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def write(  # each is what a version may be like
    folder: Path,
    number: int,
    *,
    weights: int = 16,
    inputs: Mapping[str, str] | None = None,
    output: str = "y",
    golden: list[dict[str, Any]] | None = None,
    manifest: bool = False,
) -> Path:
    """Write a model folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx_bytes(number, weights, output))
    columns = [{"name": name, "type": kind, "required": True} for name, kind in (inputs or {"x": "double"}).items()]
    signature = {
        "inputs": json.dumps(columns),
        "outputs": json.dumps([{"name": output, "type": "float", "required": True}]),
    }
    document = {
        "flavors": {"onnx": {"data": "model.onnx"}},
        "signature": signature,
        "saved_input_example_info": {"artifact_path": "example.json", "type": "dataframe"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    example = {"columns": [column["name"] for column in columns], "data": [[1.5] * len(columns)]}
    (folder / "example.json").write_text(json.dumps(example))
    if golden is not None:
        (folder / "golden.jsonl").write_text("".join(json.dumps(line) + "\n" for line in golden))
    if manifest:
        write_manifest(folder)
    return folder


def write_all(folder: Path, weights: int = 16) -> list[Path]:
    """Write versions 1 to `GOOD`, which are good, and then one of each fault."""
    golden = [{"input": {"x": 2.0}, "output": {"y": 2.0 + 2 * STEP}}]
    made = [
        write(folder / str(n), n, weights=weights, golden=golden if n == 2 else None, manifest=n == 3)
        for n in range(1, GOOD + 1)
    ]
    n = GOOD
    made.append(write(folder / "golden", n + 1, golden=[{"input": {"x": 2.0}, "output": {"y": 3.0}}]))
    made.append(write(folder / "changed", n + 2, manifest=True))
    with (made[-1] / "model.onnx").open("ab") as file:
        file.write(b"\0")
    made.append(write(folder / "output", n + 3, output="z"))
    made.append(write(folder / "input", n + 4, inputs={"other": "double"}))
    made.append(write(folder / "broken", n + 5))
    (made[-1] / "model.onnx").write_bytes(b"not a model")
    return made


FAULTS = {"golden": GOOD + 1, "changed": GOOD + 2, "output": GOOD + 3, "input": GOOD + 4, "broken": GOOD + 5}


REGISTER = """
names, sources = arguments
for name in names:
    client.create_registered_model(name)
    for source in sources:
        client.create_model_version(name, source)
    client.set_registered_model_alias(name, "champion", "1")
"""

UPLOAD = """
name, sources = arguments
client.create_registered_model(name)
with mlflow.start_run() as run:
    for source in sources:
        place = source.rpartition("/")[2]
        mlflow.log_artifacts(source, place)
        client.create_model_version(name, mlflow.get_artifact_uri(place), run.info.run_id)
client.set_registered_model_alias(name, "champion", "1")
"""


def register(folder: Path, names: list[str], sources: list[Path]) -> str:
    """Register the folders as versions of each name, the first as champion; gives the registry's address."""
    uri = f"sqlite:///{folder}/mlflow.db"
    by_mlflow(uri, folder, REGISTER, names, [str(source) for source in sources])
    return uri


def upload(uri: str, folder: Path, name: str, sources: list[Path]) -> None:
    """Send the folders to an MLflow server as versions of a name, the first as champion."""
    by_mlflow(uri, folder, UPLOAD, name, [str(source) for source in sources])


def by_mlflow(uri: str, folder: Path, script: str, *arguments: Any) -> None:
    """Run a script with mlflow's client in a process of its own."""
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    head = "import json, sys, mlflow; arguments = json.loads(sys.argv[1]); client = mlflow.MlflowClient()"
    command = [sys.executable, "-c", head + script, json.dumps(arguments)]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
