"""What LightGBM's and XGBoost's boosters have in common: rows in, scores out, labels of classifiers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.errors import SchemaError
from hansang.models.runtimes.inputs import Frame, Matrix, Reader, Values, lone_tensor, numeric, ordered
from hansang.models.runtimes.outputs import Fit
from hansang.models.runtimes.sklearn import wants_probabilities
from hansang.models.signature import Column, Scalar, Signature, Tensor

Score = Callable[[Any], np.ndarray]


class BoosterRuntime:
    """Scores rows with a booster; a classifier's scores become labels unless probabilities are declared."""

    bulk = 65536
    native = True

    def __init__(self, name: str, score: Score, read: Reader, signature: Signature, classes: np.ndarray | None) -> None:
        self.name = name
        self.signature = signature
        self.read = read
        self.score = score
        self._finish = finisher(signature, classes)
        self._fit = Fit(signature, ["prediction"], single=True)

    def predict(self, batch: Batch) -> dict[str, np.ndarray]:
        """Predict a batch."""
        return self._fit((self._finish(self.score(self.read(batch))),))


def finisher(signature: Signature | None, classes: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """Choose what becomes of the scores: nothing, a probability a class, or a label."""
    if classes is None:
        return same
    if wants_probabilities(signature, classes):
        return both_classes

    return functools.partial(labels, classes)


def labels(classes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give the label of the highest score; a binary booster scores only the second class."""
    chosen = (scores > 0.5).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
    return np.asarray(classes[chosen])


def same(scores: np.ndarray) -> np.ndarray:
    """Give the scores as they are."""
    return scores


def both_classes(scores: np.ndarray) -> np.ndarray:
    """Give a probability for each class; a binary booster scores only the second one."""
    return np.column_stack((1 - scores, scores)) if scores.ndim == 1 else scores


def booster_signature(names: Sequence[str] | None, count: int, categories: Collection[str] = ()) -> Signature:
    """Make a signature of the features that a booster remembers; those in `categories` are text."""
    note = "made of the booster's features; log a signature to be exact"
    if names:
        kinds = {name: Scalar("string" if name in categories else "double") for name in names}
        return Signature(tuple(Column(name, kind) for name, kind in kinds.items()), note=note)
    return Signature((Column(None, Tensor("float64", (-1, count))),), note=note)


def booster_reader(
    signature: Signature, names: Sequence[str] | None, count: int, dtype: type[np.floating[Any]]
) -> Reader:
    """Choose how rows are read for a booster of so many features; text columns are categories."""
    tensor = lone_tensor(signature)
    width = tensor.shape[1] if tensor and len(tensor.shape) == 2 else len(signature.inputs)
    if width not in (-1, count):
        raise SchemaError(f"the signature has {width} columns, but the booster takes {count} features")
    if tensor:
        return Values(signature.input_names[0], np.dtype(dtype))
    order = ordered(signature.input_names, names)
    if numeric(signature.inputs):
        return Matrix(order, np.dtype(dtype))
    by_name = dict(zip(signature.input_names, signature.inputs, strict=True))
    return Frame(tuple(by_name[name] for name in order), order, categories=True)


def samples(count: int, rows: int = 16) -> np.ndarray:
    """Make rows on which two ways to call a booster are compared."""
    return np.random.default_rng(0).normal(size=(rows, count))
