"""What the switches and splits of a graph decide about an example row, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from hansang.call import Call
from hansang.graph import Chain, Node, members, walk
from hansang.nodes.reach import hands_on
from hansang.nodes.rules.decision import Decision, shown
from hansang.nodes.split import Split
from hansang.nodes.switch import Switch


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decisions that a row meets, in their order; `behind` names those that depend on what a node answers."""

    decisions: Sequence[Decision]
    behind: Sequence[str] = ()

    def plain(self) -> dict[str, Any]:
        """Give it as plain data, ready for JSON."""
        made = {"decisions": [each.plain() for each in self.decisions], "behind": list(self.behind)}
        data: dict[str, Any] = to_jsonable_python(made, fallback=shown, bytes_mode="base64", inf_nan_mode="null")
        return data

    def __str__(self) -> str:
        lines = []
        for each in self.decisions:
            way = f"{each.variant} -> {each.side}" if each.variant != each.side else each.variant
            lines.append(f"{each.kind} {each.node}: {way or 'no branch'}")
            lines += [f"  {line}" for line in each.why]
        if self.behind:
            lines.append(f"not known before the nodes ahead have answered: {', '.join(self.behind)}")
        return "\n".join(lines or ["this graph has no switch and no split"])


def explain(graph: Node, row: Any, call: Call | None = None) -> Explanation:
    """Say for an example row which branch each switch and split takes, and why; no model runs, nothing is counted.

    `row` is as the graph gets it (`endpoint.reader` makes it of plain values), `call` brings headers and the key. Only
    those are explained that the row meets as it came: what stands behind another node is named in `behind`.
    """
    call = call or Call()
    decisions: list[Decision] = []
    behind: list[Node] = []
    todo = [graph]
    while todo:
        node = todo.pop()
        if isinstance(node, Switch | Split):
            decision = node.explain(row, call)
            decisions.append(decision)
            todo += [decision.chosen] if decision.chosen is not None else []
        elif isinstance(node, Chain):
            behind += [inner for later in node.nodes[1:] for inner in walk(later)]
            todo += node.nodes[:1]
        elif hands_on(node):
            todo += reversed(list(members(node)))
        else:
            behind += [inner for inner in walk(node) if inner is not node]
    names = [node.label for node in behind if isinstance(node, Switch | Split)]
    return Explanation(decisions, list(dict.fromkeys(names)))
