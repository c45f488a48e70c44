"""Reading what a split is between: nodes, their weights and their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hansang.errors import UsageError
from hansang.graph import Node, as_node


def sides_of(
    sides: Mapping[Any, Any], labels: Sequence[str] | None, owner: str
) -> tuple[dict[str, Node], dict[str, float]]:
    """Read `{node: weight}` or `{label: (node, weight)}`; gives the nodes and the weights by label."""
    if not isinstance(sides, Mapping) or not sides:
        raise UsageError(f"{owner} has no sides; give {{node: weight, node: weight}}")
    named = [isinstance(key, str) for key in sides]
    if any(named):
        if not all(named) or labels is not None:
            raise UsageError(f"{owner}: label all sides in one way: {{'a': (node, 90), 'b': (node, 10)}}, or labels=")
        pairs = [pair_of(key, value, owner) for key, value in sides.items()]
        labels = [str(key) for key in sides]
    else:
        pairs = [(as_node(key), value) for key, value in sides.items()]
        labels = list(labels) if labels is not None else [node.label for node, _ in pairs]
    check_labels(labels, len(pairs), owner)
    weights = {label: weight_of(weight, label, owner) for label, (_, weight) in zip(labels, pairs, strict=True)}
    if not any(weights.values()):
        raise UsageError(f"{owner}: all weights are 0; give one side more")
    return {label: node for label, (node, _) in zip(labels, pairs, strict=True)}, weights


def pair_of(label: str, value: Any, owner: str) -> tuple[Node, Any]:
    """Read a node and its weight."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UsageError(f"{owner}: the side {label!r} is {value!r}; give (node, weight)")
    return as_node(value[0]), value[1]


def check_labels(labels: Sequence[str], count: int, owner: str) -> None:
    """Refuse labels that do not tell the sides apart, or that cannot stand in the header x-variant."""
    if len(labels) != count:
        raise UsageError(f"{owner}: {len(labels)} labels for {count} sides; give one a side")
    for label in labels:
        if not isinstance(label, str) or not label.isprintable() or not label.strip() or "," in label:
            raise UsageError(f"{owner}: {label!r} is not a label; give text on one line without a comma")
    twice = sorted({label for label in labels if list(labels).count(label) > 1})
    if twice:
        raise UsageError(
            f"{owner}: two sides are called {twice[0]!r}; "
            f"give labels=('champion', 'challenger'), in the order of the sides"
        )


def weight_of(weight: Any, label: str, owner: str) -> float:
    """Read a weight."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < math.inf:
        raise UsageError(f"{owner}: the weight of {label!r} is {weight!r}; give a number, 0 or more")
    return float(weight)


def checked_overrides(overrides: Mapping[Any, str] | None, labels: Mapping[str, Node], owner: str) -> dict[str, str]:
    """Refuse an override that names no side."""
    for key, label in (overrides or {}).items():
        if label not in labels:
            raise UsageError(f"{owner}: the override of {key!r} names {label!r}; the sides are: {', '.join(labels)}")
    return {str(key): label for key, label in (overrides or {}).items()}
