"""The picture of a service in a terminal, and a graph in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hansang.extras import require
from hansang.graph import Node
from hansang.outline import duration, in_short, outline

Data = Mapping[str, Any]

COLORS = {"model": "magenta", "function": "cyan", "remote": "yellow", "constant": "white"}
MOST_FIELDS = 12


def sentence(node: Node) -> str:
    """Tell a graph in words, for whoever cannot see its picture."""
    shape = outline(node)
    name = " ".join(filter(None, (shape.word, shape.label)))
    if shape.kind == "chain":
        return ", then ".join(sentence(side.node) for side in shape.sides)
    if not shape.sides:
        return name
    inner = "; ".join(f"{' '.join(filter(None, (s.name, s.note)))}: {sentence(s.node)}" for s in shape.sides)
    return f"{name} ({inner})"


def show(data: Data, console: Any) -> None:
    """Print a service: every endpoint's graph as a tree, its joints, and the models."""
    text = require("rich.text", "").Text
    about = " · ".join(filter(None, (f"version {data['version']}", data["owner"] and f"owner {data['owner']}")))
    console.print(text.assemble((data["name"], "bold"), (f"  {about}", "dim")))
    if data["description"]:
        console.print(text(data["description"]))
    for endpoint in data["endpoints"]:
        console.print()
        console.print(endpoint_tree(endpoint, data["description"]))
        console.print(text("joints", "bold"))
        for line in joint_lines(endpoint["joints"]):
            console.print(line)


def endpoint_tree(endpoint: Data, said: str = "") -> Any:
    """Draw one endpoint: what comes in, the nodes on its way, what goes out."""
    text = require("rich.text", "").Text
    notes = [f"deadline {duration(endpoint['deadline_ms'] / 1000)}"] if endpoint["deadline_ms"] is not None else []
    notes += [endpoint["description"]] if endpoint["description"] != said else []
    tree = require("rich.tree", "").Tree(
        text.assemble((f"POST {endpoint['path']}", "bold"), ("".join(f"  {note}" for note in notes), "dim")),
        guide_style="dim",
    )
    tree.add(schema_line("in", endpoint["input"]))
    add(tree, endpoint["graph"], "")
    tree.add(schema_line("out", endpoint["output"]))
    return tree


def schema_line(side: str, schema: Data | None) -> Any:
    """Tell a schema in one line."""
    text = require("rich.text", "").Text
    if schema is None:
        return text.assemble((f"{side}  ", "dim"), ("not declared", "dim"))
    fields = [f"{name}: {words}" for name, words in schema["fields"].items()]
    more = [f"and {len(fields) - MOST_FIELDS} more"] if len(fields) > MOST_FIELDS else []
    told = "; ".join(fields[:MOST_FIELDS] + more)
    return text.assemble((f"{side}  ", "dim"), (schema["name"], "bold"), (f"  {told}" if told else "", "dim"))


def add(tree: Any, graph: Data, before: str, style: str = "") -> None:
    """Add a node to a tree; what it is made of stands below it, and the nodes of a chain below each other."""
    text = require("rich.text", "").Text
    if graph["kind"] == "chain":
        inner = tree.add(text(before.strip(), style)) if before else tree
        for side in graph["sides"]:
            add(inner, side["graph"], "")
        return
    word, color = graph["node"], COLORS.get(graph["node"], "blue")
    notes = [*graph["notes"], *([f"at {graph['place']}"] if "place" in graph else [])]
    line = text.assemble(
        (before, style),
        (word, color),
        (f" {graph['label']}" if graph["label"] else "", "bold"),
        (f"  {' · '.join(notes)}" if notes else "", "dim"),
    )
    branch = tree.add(line)
    sides = graph.get("sides", ())
    for side in sides:
        name = " ".join(filter(None, (side["name"] if len(sides) > 1 else "", in_short(side["note"]))))
        aside = "aside " if side["aside"] else ""
        add(branch, side["graph"], f"{aside}{name}  " if name else "", "dim" if side["aside"] else "yellow")


def joint_lines(joints: list[Data]) -> Iterator[Any]:
    """Tell of each joint whether it is checked, and why not."""
    text = require("rich.text", "").Text
    for joint in joints:
        sign, color = ("✓", "green") if joint["checked"] else ("?", "yellow")
        gives, takes = joint["gives"] or "not said", joint["takes"] or "not said"
        types = f"  {gives}" if gives == takes else f"  {gives} → {takes}"
        yield text.assemble((f"{sign} ", color), f"{joint['from']} → {joint['to']}", (types, "dim"))
