"""Formats that can run code on load, and the two doors through which they may come in."""

from __future__ import annotations

import importlib
import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hansang.errors import ModelError, UntrustedModel
from hansang.extras import require
from hansang.models.artifact import Artifact, first_line

# Types whose loading by skops runs only their own library's code. The list inside a model is never read: whoever
# wrote the model wrote that list too.
LIBRARIES = ("sklearn", "numpy", "scipy")
UNSAFE_PARTS = ("test", "tests", "testing", "_testing", "conftest", "distutils", "f2py")
NAMED = {
    "builtins.bytearray",
    "collections.OrderedDict",
    "collections.defaultdict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn._LGBMLabelEncoder",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
    "xgboost.sklearn.XGBRanker",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
}


def require_trust(artifact: Artifact, file: str, why: str, trust: bool) -> None:
    """Refuse a file that can run code on load, unless somebody said that the model is trusted."""
    if not trust:
        raise UntrustedModel(
            f"{artifact.uri}: {file} {why}; if you trust who made it, set trust=True or "
            f"HANSANG_TRUST={artifact.uri}; better, log the model as skops or ONNX"
        )


def load_object(artifact: Artifact, file: Path, form: str | None, trust: bool) -> Any:
    """Load a Python object: skops by our own list of types, a pickle and its kin only when trusted."""
    if file.suffix == ".skops" or form == "skops" and zipfile.is_zipfile(file):
        return load_skops(artifact, file, trust)
    require_trust(artifact, file.name, "is a pickle: loading it can run any code", trust)
    try:
        return require("joblib", "sklearn", "a pickled model").load(file)
    except Exception as error:  # unpickling raises whatever the pickled classes raise
        raise ModelError(
            f"{file} cannot be unpickled ({type(error).__name__}: {first_line(error)}); "
            "expected a pickled model, and the packages that it was made with"
        ) from error


def load_skops(artifact: Artifact, file: Path, trust: bool) -> Any:
    """Load a skops file whose types are all known, or all of whose types somebody trusts."""
    io: Any = require("skops.io", "sklearn", "a skops model")
    try:
        types = io.get_untrusted_types(file=file)
        unknown = sorted(name for name in types if not known_type(name))
        if unknown:
            which = ", ".join(unknown)
            require_trust(artifact, file.name, f"holds types that are not known to be safe: {which}", trust)
        return io.load(file, trusted=types)
    except ModelError:
        raise
    except Exception as error:  # skops raises what its zip, JSON and class readers raise
        raise ModelError(
            f"{file} cannot be read as skops ({type(error).__name__}: {first_line(error)}); expected a skops file, "
            "and the packages that it was made with"
        ) from error


def known_type(name: str) -> bool:
    """Say whether a type is a class or a universal function of a library that we know."""
    if name in NAMED:
        return True
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    if parts[0] not in LIBRARIES or any(part in UNSAFE_PARTS for part in parts):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(found) or isinstance(found, np.ufunc)
