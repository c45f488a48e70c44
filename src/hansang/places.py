"""The nodes of a graph by name, so that each can be put elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from hansang.errors import UsageError
from hansang.graph import Chain, Node, rebuilt, walk


def named(graph: Node) -> dict[str, list[Node]]:
    """Give the nodes of a graph by all names that they go by, outermost first.

    A node is named by its label, and by the key under which another one holds it (the members of `parallel`, the sides
    of a `switch`). The links of a chain have no names of their own, nor has a chain without a name.
    """
    found: dict[str, list[Node]] = {}
    for node in walk(graph):
        names = [(name, inner) for name, inner in keyed(node)]
        if not isinstance(node, Chain):
            names.append((node.label, node))
        for name, one in names:
            if all(other is not one for other in found.setdefault(name, [])):
                found[name].append(one)
    return found


def keyed(node: Node) -> Iterator[tuple[str, Node]]:
    """Give the nodes that a node holds under a text, and those that stand in fields of their own."""
    if not is_dataclass(node) or isinstance(node, Chain):
        return
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            yield field.name, value
        elif isinstance(value, Mapping):
            yield from (
                (key, inner) for key, inner in value.items() if isinstance(key, str) and isinstance(inner, Node)
            )


def find(graphs: Mapping[str, Node], name: str) -> Node:
    """Give the one node of this name in the graphs of a service; the keys say where a graph is.

    A node that holds the others of its name is the one: `parallel(age=resize >> age)` is moved with its preprocessing.

    Raises `UsageError` when there is none, or several.
    """
    found: list[Node] = []
    known: dict[str, None] = {}
    for graph in graphs.values():
        names = named(graph)
        known |= dict.fromkeys(names)
        found += [node for node in names.get(name, ()) if all(other is not node for other in found)]
    if not found:
        raise UsageError(f"no node {name!r}; {', '.join(graphs)} has: {', '.join(sorted(known))}")
    inner = list(walk(found[0]))[1:]
    if not all(any(node is one for one in inner) for node in found[1:]):
        raise UsageError(f"{len(found)} nodes are called {name!r}; give each a name of its own: Model(…, name=…)")
    return found[0]


def placed(graph: Node, elsewhere: Mapping[int, Node]) -> Node:
    """Give a graph in which some nodes, by their identity, are replaced by what stands for them here."""
    known: dict[int, Node] = {}

    def change(node: Node) -> Node:
        if id(node) in elsewhere:
            return elsewhere[id(node)]
        if id(node) not in known:
            known[id(node)] = rebuilt(node, change)
        return known[id(node)]

    return change(graph) if elsewhere else graph
