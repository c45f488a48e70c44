"""Where everything stands in the picture of a graph.

Graphs are series-parallel: a node, nodes in a row, or sides on top of each other. So each part knows its size and the
height of the line that runs through it, a whole is made of its parts, and nothing can overlap.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from hansang.graph import Node
from hansang.outline import Kind, outline

HEIGHT = 48.0  # of a node
GAP = 30.0  # between the nodes of a chain
ROWS = 16.0  # between the sides of a pattern
PADDING = 16.0  # inside a frame
HEADER = 30.0  # of a frame, with its title
NEAR = 20.0  # between a side and the middle
TURN = 34.0  # from the fork to where the sides begin
LABEL, NOTE = 13.0, 11.0  # sizes of the fonts
LONGEST = 36


def text_width(text: str, size: float) -> float:
    """Give the width of a text in a fixed-width font, generously; wide characters count double."""
    cells = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
    return cells * size * 0.615


def shortened(text: str, longest: int = LONGEST) -> str:
    """Cut a long text in its middle, so that both ends can be read."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    head = (longest - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


@dataclass(slots=True)
class Block:
    """A part of the picture; `port` is how far below its top the line enters and leaves."""

    width: float
    height: float
    port: float


@dataclass(slots=True)
class Box(Block):
    """A node that is made of no others, or one end of the graph."""

    word: str
    label: str
    note: str
    full: str
    end: bool = False


@dataclass(slots=True)
class Row(Block):
    """Blocks one after the other, on one line."""

    blocks: tuple[Block, ...]


@dataclass(slots=True)
class Branch:
    """One side in a frame: what stands over its line, and its block."""

    name: str
    note: str
    aside: bool
    block: Block


@dataclass(slots=True)
class Frame(Block):
    """A pattern around its sides; they begin `inset` right of its left edge."""

    kind: Kind
    word: str
    label: str
    note: str
    branches: tuple[Branch, ...]
    inset: float
    inner: float


def block_of(node: Node) -> Block:
    """Lay out a node with everything in it."""
    shape = outline(node)
    notes = " · ".join([*shape.notes, *([f"at {shape.place}"] if shape.place else [])])
    if shape.kind == "chain":
        return row([block_of(side.node) for side in shape.sides])
    if not shape.sides:
        word = "remote" if shape.place else shape.word
        return box(word, shape.label or shape.word, " · ".join(filter(None, (shape.word, notes))))
    lone = len(shape.sides) == 1
    branches = tuple(
        Branch("" if lone else side.name, side.note, side.aside, block_of(side.node)) for side in shape.sides
    )
    return frame(shape.kind, shape.word, shape.label, notes, branches)


def box(word: str, label: str, note: str, end: bool = False) -> Box:
    """Make a node's box as wide as its texts."""
    short, small = shortened(label), shortened(note, 48)
    width = max(text_width(short, LABEL), text_width(small, NOTE), 56.0) + 32.0
    full = label if short == label and small == note else f"{label}: {note}"
    return Box(width, HEIGHT, HEIGHT / 2, word, short, small, full, end)


def row(blocks: list[Block]) -> Block:
    """Put blocks in a row, their lines at one height."""
    if len(blocks) == 1:
        return blocks[0]
    port = max((block.port for block in blocks), default=0.0)
    below = max((block.height - block.port for block in blocks), default=0.0)
    width = sum(block.width for block in blocks) + GAP * (len(blocks) - 1)
    return Row(width, port + below, port, tuple(blocks))


def frame(kind: Kind, word: str, label: str, note: str, branches: tuple[Branch, ...]) -> Frame:
    """Put a frame around sides that stand on top of each other."""
    name, note = shortened(label), shortened(note, 72)
    names = max(text_width(over(branch), NOTE) for branch in branches)
    inset = (TURN + names + 16.0 if names else TURN - 4.0) if len(branches) > 1 or names else PADDING
    inner = max(branch.block.width for branch in branches)
    title = sum(text_width(text, NOTE) + 10.0 for text in (word, name, note) if text) + 18.0
    width = max(inset + inner + (TURN if len(branches) > 1 else PADDING), title)
    if len(branches) == 1:
        inset += (width - inset - inner - PADDING) / 2
    tops = top_of(branches)
    height = HEADER + tops[-1] + branches[-1].block.height + PADDING
    ports = [HEADER + top + branch.block.port for top, branch in zip(tops, branches, strict=True) if not branch.aside]
    middle = (ports[0] + ports[-1]) / 2 if ports else height / 2
    near = min(ports, key=lambda port: abs(port - middle), default=middle)
    port = near if abs(near - middle) < NEAR else middle  # a line that is almost straight is straight
    return Frame(width, height, port, kind, word, name, note, branches, inset, inner)


def top_of(branches: tuple[Branch, ...]) -> list[float]:
    """Give how far below the header each side begins."""
    tops, at = [], 6.0
    for branch in branches:
        if over(branch) and branch.block.port < 14.0:
            at += 14.0 - branch.block.port
        tops.append(at)
        at += branch.block.height + ROWS
    return tops


def over(branch: Branch) -> str:
    """Give what stands over the line of a side."""
    return " ".join(filter(None, (shortened(branch.name, 28), shortened(branch.note, 28))))


def ends(data: dict[str, Any] | None, nothing: str) -> Box:
    """Make the box of a schema, at one end of the graph."""
    if data is None:
        return box("end", nothing, "not declared", end=True)
    count = len(data["fields"])
    fields = "any fields" if "…" in data["fields"] else "1 field" if count == 1 else f"{count} fields"
    return box("end", data["name"], fields if count else nothing, end=True)
