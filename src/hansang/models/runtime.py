"""What runs a model, and the choice of it: native libraries first, mlflow's pyfunc for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hansang.batch import Batch
from hansang.errors import ModelError
from hansang.models.artifact import Artifact
from hansang.models.runtimes import lightgbm, onnx, pyfunc, sklearn, xgboost
from hansang.models.runtimes.function import FunctionRuntime
from hansang.models.signature import Signature


class Runtime(Protocol):
    """A model in memory.

    `signature` is what was logged with the model, else what its file declares, with inputs narrowed to the types
    that the file takes; None when neither says anything. It is the one to make schemas of.
    `native` says that a call is bounded, compiled code, which may run on the event loop when it is cheap.
    """

    @property
    def name(self) -> str:
        """The library that runs the model."""

    @property
    def signature(self) -> Signature | None:
        """What the model takes and gives."""

    @property
    def native(self) -> bool:
        """Whether a call is compiled code all through."""

    @property
    def bulk(self) -> int:
        """How many rows one call may take when nobody waits: more where a row is a few numbers all through."""

    def predict(self, batch: Batch) -> dict[str, np.ndarray] | list[Any]:
        """Predict every row: columns by the outputs' names, or a list with one outcome a row."""


LOADERS: dict[str, Callable[..., Runtime]] = {
    "onnx": onnx.load,
    "lightgbm": lightgbm.load,
    "xgboost": xgboost.load,
    "sklearn": sklearn.load,
    "python_function": pyfunc.load,
}


def load_runtime(artifact: Artifact, *, trust: bool = False, threads: int = 1) -> Runtime:
    """Load a model by the first of its flavors that has a native runtime, by pyfunc otherwise.

    `threads` bounds what a native runtime may use in one call. Raises `UntrustedModel` for a format that can run
    code on load unless `trust`, `SchemaError` when signature and file do not fit, another `ModelError` when the
    file is not what it says.
    """
    for flavor, load in LOADERS.items():
        if flavor in artifact.flavors:
            return load(artifact, trust=trust, threads=threads)
    raise ModelError(
        f"{artifact.uri}: no runtime for the flavors {', '.join(artifact.flavors) or '(none)'}; "
        f"expected one of {', '.join(LOADERS)}"
    )


def function_runtime(function: Callable[[Batch], Any]) -> Runtime:
    """Take a Python function of a `Batch` as a model."""
    return FunctionRuntime(function)
