"""Which nodes of a graph get the rows as they came in, before any node has changed them."""

from __future__ import annotations

from collections.abc import Iterator

from hansang.dispatch import Dispatcher
from hansang.graph import Chain, Node, members


def hands_on(node: Node) -> bool:
    """Say whether a pattern gives its rows to the nodes inside as they came: a dispatcher, and all of Hansang's own."""
    return isinstance(node, Dispatcher) or type(node).__module__.partition(".")[0] == "hansang"


def reach(graph: Node) -> Iterator[tuple[Node, bool]]:
    """Give every node of a graph, and whether the rows that come in reach it as they are."""
    seen: set[tuple[int, bool]] = set()
    todo = [(graph, True)]
    while todo:
        node, at_start = todo.pop()
        if (id(node), at_start) in seen:
            continue
        seen.add((id(node), at_start))
        yield node, at_start
        if isinstance(node, Chain):
            inner = [(each, at_start and not place) for place, each in enumerate(node.nodes)]
        else:
            inner = [(each, at_start and hands_on(node)) for each in members(node)]
        todo.extend(reversed(inner))
