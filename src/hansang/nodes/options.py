"""What may be said of the members of a parallel node, checked where it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from hansang.errors import UsageError
from hansang.graph import Node, as_node
from hansang.nodes.combine import COMBINERS


def named_members(name: str, nodes: Sequence[Any], members: Mapping[str, Any]) -> dict[str, Node]:
    """Give the members by name, in their order; those that come without one go by their labels."""
    named: dict[str, Node] = {}
    for node in map(as_node, nodes):
        if node.label in named or node.label in members:
            raise UsageError(f"{name} has two members called {node.label!r}; name them: parallel(first=…, second=…)")
        named[node.label] = node
    named |= {member: as_node(node) for member, node in members.items()}
    if not named:
        raise UsageError(f"{name} has no members; give nodes: parallel(age=…, gender=…)")
    return named


def check_options(
    name: str, members: tuple[str, ...], combine: Any, timeout: Any, quorum: Any, weights: Any
) -> dict[str, float] | None:
    """Refuse options that do not fit the members; gives the weights by member."""
    if combine is not None and not callable(combine) and combine not in COMBINERS:
        known = ", ".join(repr(known) for known in COMBINERS)
        raise UsageError(f"{name} cannot combine by {combine!r}; expected {known}, a function or a node")
    for seconds in timeout.values() if isinstance(timeout, Mapping) else [timeout]:
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise UsageError(f"a timeout of {name} is in seconds, above 0, got {seconds!r}")
    if isinstance(timeout, Mapping):
        check_names(name, "timeout", members, timeout)
    if quorum is not None and not (isinstance(quorum, int) and 1 <= quorum <= len(members)):
        raise UsageError(f"the quorum of {name} is a number of members, 1 to {len(members)}, got {quorum!r}")
    if (weights is not None) != (combine == "weighted"):
        raise UsageError(f'the weights of {name} belong to combine="weighted"; give both or neither')
    return None if weights is None else check_weights(name, members, weights)


def check_weights(
    name: str, members: tuple[str, ...], weights: Mapping[str, float] | Sequence[float]
) -> dict[str, float]:
    """Give the weights by member, of which each has one."""
    if not isinstance(weights, Mapping):
        if len(weights) != len(members):
            raise UsageError(f"{name} has {len(members)} members and {len(weights)} weights; give one each")
        weights = dict(zip(members, weights, strict=True))
    check_names(name, "weight", members, weights)
    missing = [member for member in members if member not in weights]
    if missing:
        raise UsageError(f"{name} has no weight for {', '.join(missing)}; give every member one")
    wrong = [weight for weight in weights.values() if not (isfinite(weight) and weight >= 0)]
    if wrong or not sum(weights.values()) > 0:
        raise UsageError(f"the weights of {name} are 0 or more, and not all 0, got {dict(weights)}")
    return {member: float(weights[member]) for member in members}


def check_names(name: str, what: str, members: tuple[str, ...], given: Mapping[str, Any]) -> None:
    """Refuse a name that no member has."""
    for member in given:
        if member not in members:
            raise UsageError(f"{name} has a {what} for {member!r}; its members are: {', '.join(members)}")
