"""The picture of a service's graphs as an SVG that can be read in light and dark, and by a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from hansang.graph import Node
from hansang.outline import duration
from hansang.pictures.data import schema_data
from hansang.pictures.layout import (
    GAP,
    HEADER,
    NOTE,
    Block,
    Box,
    Branch,
    Frame,
    Row,
    block_of,
    ends,
    row,
    shortened,
    text_width,
    top_of,
)
from hansang.pictures.text import sentence
from hansang.service import Endpoint, Service

MARGIN = 24.0
HEADING = 40.0
STYLE = """
svg{--paper:#fff;--ink:#1c2733;--soft:#5b6b7b;--line:#8a99a8;--box:#fff;--edge:#cfd8e0;--frame:#f5f7fa;
--model:#6a45c9;--function:#00796b;--remote:#b3541e;--constant:#5b6b7b;--node:#2563a8;--end:#eef4f3}
@media (prefers-color-scheme:dark){svg{--paper:#12181f;--ink:#e6edf3;--soft:#9fb0c0;--line:#6f8193;--box:#1b242e;
--edge:#354352;--frame:#161e27;--model:#a78bfa;--function:#4fb8a8;--remote:#e89a5f;--constant:#9fb0c0;--node:#6cb0f5;
--end:#1a2a2b}}
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink)}
.small{font-size:11px}.label{font-size:13px;font-weight:600}.soft{fill:var(--soft)}.path{font-size:14px;font-weight:700}
.box{fill:var(--box);stroke:var(--edge)}.end{fill:var(--end);stroke:var(--edge)}
.frame{fill:var(--frame);stroke:var(--edge)}.word{font-size:11px;font-weight:700;fill:var(--node)}
.line{fill:none;stroke:var(--line);stroke-width:1.5}.aside{stroke-dasharray:4 3}.dot{fill:var(--line)}
.model{fill:var(--model)}.function{fill:var(--function)}.remote{fill:var(--remote)}
.constant{fill:var(--constant)}.node{fill:var(--node)}
"""
STRIPES = ("model", "function", "remote", "constant")


def service_svg(service: Service, endpoint: Endpoint | None = None) -> str:
    """Draw the graphs of a service, or of one endpoint, one under the other."""
    chosen = [endpoint] if endpoint is not None else service.endpoints
    parts: list[str] = []
    width, at = 0.0, MARGIN
    for each in chosen:
        block = row(
            [
                ends(schema_data(each.given, "validation"), "input"),
                block_of(each.placed),
                ends(schema_data(each.prediction, "serialization"), "output"),
            ]
        )
        heading = f"POST {each.path}"
        note = f"deadline {duration(each.deadline)}" if each.deadline is not None else ""
        parts.append(text(MARGIN, at + 14, shortened(heading, 60), "path"))
        if note:
            parts.append(text(MARGIN + text_width(heading, 14.0) + 16, at + 14, note, "small soft"))
        parts.extend(drawn(block, MARGIN, at + HEADING))
        width = max(width, block.width, text_width(heading + note, 14.0) + 24)
        at += HEADING + block.height + MARGIN
    title = f"{service.name}: the graph of {', '.join(each.path for each in chosen)}"
    told = " ".join(f"{each.path}: {sentence(each.placed)}." for each in chosen)
    return document(width + 2 * MARGIN, at, title, told, parts)


def graph_svg(node: Node, title: str) -> str:
    """Draw a graph alone, with a line that comes in and one that leaves."""
    block = block_of(node)
    level = MARGIN + block.port
    parts = [
        path(f"M{number(4)} {number(level)}H{number(MARGIN + 10)}", tip=first_is_box(block)),
        *drawn(block, MARGIN + 10, MARGIN),
        path(f"M{number(MARGIN + 10 + block.width)} {number(level)}h{number(MARGIN + 5)}", tip=True),
    ]
    return document(block.width + 2 * MARGIN + 20, block.height + 2 * MARGIN, title, f"{sentence(node)}.", parts)


def document(width: float, height: float, title: str, told: str, parts: list[str]) -> str:
    """Put the parts of a picture into a document."""
    w, h = number(width), number(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        f'aria-labelledby="title told">\n<title id="title">{safe(title)}</title>\n<desc id="told">{safe(told)}</desc>\n'
        f"<style>{STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 .5 8 4 0 7.5z" class="dot"/></marker></defs>\n'
        f'<rect width="{w}" height="{h}" rx="8" fill="var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def drawn(block: Block, x: float, y: float) -> Iterator[str]:
    """Draw a block with its top left corner here."""
    match block:
        case Box():
            yield from drawn_box(block, x, y)
        case Row():
            yield from drawn_row(block, x, y)
        case Frame():
            yield from drawn_frame(block, x, y)


def drawn_box(box: Box, x: float, y: float) -> Iterator[str]:
    """Draw a node: its name, and below what it is."""
    tip = f"<title>{safe(box.full)}</title>"
    if box.end:
        yield rect(x, y, box.width, box.height, box.height / 2, "end", tip)
        middle = x + box.width / 2
        yield text(middle, y + 21, box.label, "label", "middle") + text(
            middle, y + 37, box.note, "small soft", "middle"
        )
        return
    yield rect(x, y, box.width, box.height, 7, "box", tip)
    stripe = box.word if box.word in STRIPES else "node"
    yield rect(x + 7, y + 9, 4, box.height - 18, 2, stripe)
    yield text(x + 20, y + 21, box.label, "label") + text(x + 20, y + 37, box.note, "small soft")


def drawn_row(row: Row, x: float, y: float) -> Iterator[str]:
    """Draw blocks in a row and the arrows between them."""
    level, at = y + row.port, x
    for block in row.blocks:
        if at > x:
            yield path(f"M{number(at - GAP)} {number(level)}H{number(at)}", tip=first_is_box(block))
        yield from drawn(block, at, level - block.port)
        at += block.width + GAP


def drawn_frame(frame: Frame, x: float, y: float) -> Iterator[str]:
    """Draw a pattern: its title, and the way through each of its sides."""
    yield rect(x, y, frame.width, frame.height, 10, "frame")
    at = x + 14
    for words, style in ((frame.word, "word"), (frame.label, "small"), (frame.note, "small soft")):
        if words:
            yield text(at, y + 20, words, style)
            at += text_width(words, NOTE) + 10
    level = y + frame.port
    for top, branch in zip(top_of(frame.branches), frame.branches, strict=True):
        yield from drawn_branch(frame, branch, x, y + HEADER + top, level)
    if len(frame.branches) > 1:
        fork, join = x + 12, x + frame.width - 12
        yield path(f"M{number(x)} {number(level)}H{number(fork)}M{number(join)} {number(level)}h12")
        yield mark(fork, level, frame.kind)
        yield mark(join, level, "all" if frame.kind == "all" else "join")


def drawn_branch(frame: Frame, branch: Branch, x: float, y: float, level: float) -> Iterator[str]:
    """Draw the way through one side: from the fork to its block, and from there to where the sides meet."""
    block, style = branch.block, "line aside" if branch.aside else "line"
    here, start = y + block.port, x + frame.inset
    fork, right = x + 12, x + frame.width
    begin = x if len(frame.branches) == 1 else fork
    yield path(bent(begin, level, here, start, fork), style, tip=first_is_box(block))
    at = x + 36
    for words, kind in ((branch.name, "small"), (branch.note, "small soft")):
        if words:
            short = shortened(words, 28)
            yield text(at, here - 6, short, kind, tip=words)
            at += text_width(short, NOTE) + 7
    yield from drawn(block, start, y)
    out, join = start + block.width, right - 12
    if branch.aside:
        yield path(f"M{number(out)} {number(here)}h10", style)
        yield f'<circle cx="{number(out + 13)}" cy="{number(here)}" r="3" class="line"/>'
        return
    straight = abs(here - level) < 0.5
    yield path(bent_back(out, here, level, right if straight else join, join))


def first_is_box(block: Block) -> bool:
    """Say whether a line ends at a node: at a pattern it goes on to the fork."""
    while isinstance(block, Row):
        block = block.blocks[0]
    return isinstance(block, Box)


def bent(x: float, level: float, here: float, end: float, fork: float) -> str:
    """Give a path that leaves the line at the fork and goes on at the height of a side."""
    if abs(here - level) < 0.5:
        return f"M{number(x)} {number(level)}H{number(end)}"
    down = 1 if here > level else -1
    turn = min(10.0, abs(here - level))
    return (
        f"M{number(fork)} {number(level)}V{number(here - down * turn)}"
        f"Q{number(fork)} {number(here)} {number(fork + turn)} {number(here)}H{number(end)}"
    )


def bent_back(x: float, here: float, level: float, end: float, join: float) -> str:
    """Give a path from a side back to the line."""
    if abs(here - level) < 0.5:
        return f"M{number(x)} {number(here)}H{number(end)}"
    down = 1 if level > here else -1
    turn = min(10.0, abs(here - level))
    return (
        f"M{number(x)} {number(here)}H{number(join - turn)}"
        f"Q{number(join)} {number(here)} {number(join)} {number(here + down * turn)}V{number(level)}"
    )


# --- elements ---


def mark(x: float, y: float, kind: str) -> str:
    """Draw where a line forks or joins: a dot when all sides get the row, a diamond when one does."""
    if kind in ("one", "own"):
        return f'<path d="M{number(x)} {number(y - 5)}l5 5-5 5-5-5z" class="dot"/>'
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{"4" if kind == "all" else "2.5"}" class="dot"/>'


def rect(x: float, y: float, width: float, height: float, radius: float, style: str, inner: str = "") -> str:
    """Draw a rectangle with round corners."""
    at = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" rx="{number(radius)}"'
    return f'<rect {at} class="{style}">{inner}</rect>' if inner else f'<rect {at} class="{style}"/>'


def text(x: float, y: float, words: str, style: str, anchor: str = "", tip: str = "") -> str:
    """Write a line of text; what it was before it was cut is shown on it."""
    side = f' text-anchor="{anchor}"' if anchor else ""
    whole = f"<title>{safe(tip)}</title>" if tip not in ("", words) else ""
    return f'<text x="{number(x)}" y="{number(y)}" class="{style}"{side}>{safe(words)}{whole}</text>'


def path(way: str, style: str = "line", tip: bool = False) -> str:
    """Draw a line."""
    return f'<path d="{way}" class="{style}"{" marker-end=" + chr(34) + "url(#tip)" + chr(34) if tip else ""}/>'


def number(value: float) -> str:
    """Write a coordinate in short."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def safe(words: str) -> str:
    """Write text so that XML takes it, whatever stands in it."""
    return escape("".join(char if char.isprintable() else " " for char in words))
