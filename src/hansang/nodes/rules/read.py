"""The two kinds of rules that a switch can have, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import Problem, UsageError
from hansang.graph import Node, as_node
from hansang.nodes.rules.branch import Branch, Choice, name_of
from hansang.nodes.rules.conditions import Conditions
from hansang.nodes.rules.decision import Decision
from hansang.nodes.rules.lookup import Lookup, bare
from hansang.nodes.rules.source import Source, source

DEFAULT = "default"

Spec = str | Callable[[Any], Any] | Mapping[str, str]


class Rule(Protocol):
    """Chooses a branch for each row by its number; that of the default comes after the others."""

    @property
    def sources(self) -> Sequence[Source]:
        """What it looks at."""

    def choose(self, batch: Batch, at: datetime) -> Choice:
        """Give the branch of each row, at this time."""

    def prove(self, schema: Any) -> None:
        """Raise `SchemaError` when rows of this schema, or of any for None, cannot all follow the rule."""

    def table(self) -> list[str]:
        """Write the conditions of the branches."""

    def explain(self, row: Any, call: Call, at: datetime) -> tuple[list[str], dict[str, Any]]:
        """Say line by line, and as plain values, what is true of one row."""


def rule_of(spec: Spec, keys: Iterable[Any], has_default: bool, owner: str) -> Rule:
    """Make the rule of a switch."""
    if isinstance(spec, Mapping):
        return Conditions(owner, spec)
    return Lookup(owner, source(spec, owner), list(keys), has_default)


def variant_of(key: Any) -> str:
    """Name a branch by its key."""
    return name_of(bare(key))


def sides_of(rule: Any, table: Mapping[Any, Any] | None, has_default: bool, owner: str) -> tuple[Spec, dict[Any, Node]]:
    """Read the rule and the branches of a switch from what the user wrote."""
    if isinstance(rule, Mapping):
        if table is not None:
            raise UsageError(f"{owner}: conditions bring their nodes: {{'age < 18': node}}; leave the table out")
        if not has_default:
            raise UsageError(f"{owner} needs default=: no condition may be true")
        return conditions_of(rule, owner)
    if not isinstance(table, Mapping) or not table:
        raise UsageError(f"{owner} has no table; give {{value: node}}")
    return rule, {key: as_node(value) for key, value in table.items()}


def conditions_of(rule: Mapping[Any, Any], owner: str) -> tuple[dict[str, str], dict[Any, Node]]:
    """Read `{condition: node}` or `{name: (condition, node)}`; gives the conditions and the nodes by name."""
    conditions: dict[str, str] = {}
    nodes: dict[Any, Node] = {}
    for key, value in rule.items():
        text, inner = value if isinstance(value, tuple) and len(value) == 2 else (key, value)
        if not isinstance(key, str) or not isinstance(text, str):
            raise UsageError(f"{owner}: {text!r} is no condition; give text such as 'age < 18'")
        name = name_of(key)
        if name in nodes:
            raise UsageError(f"{owner}: {name!r} stands there twice")
        conditions[name], nodes[name] = text, as_node(inner)
    if not conditions:
        raise UsageError(f"{owner} has no conditions; give {{'age < 18': node}}")
    return conditions, nodes


def decided(rule: Rule, ways: Sequence[Branch], name: str, row: Any, call: Call, at: datetime) -> Decision:
    """Explain what a switch decides about one row."""
    (number,), problems = rule.choose(Batch([row], [call]), at)
    why, facts = rule.explain(row, call, at)
    if problems:
        return Decision("switch", name, "", "", [*why, f"the row fails: {told(problems[0])}"], facts)
    way = ways[number]
    if way.step.variant == DEFAULT:
        why.append("nothing else fires: the default")
    return Decision("switch", name, way.step.variant, way.node.label, why, facts, way.node)


def told(error: Exception) -> str:
    """Say an error in words."""
    faults = error.errors if isinstance(error, Problem) and error.errors else []
    return "; ".join(str(fault["msg"]) for fault in faults) or str(error)
