"""How a graph is put together: what each node is, what it is made of, and where its rows go.

The checks of the joints and the pictures read this, so that a pattern is explained once. A pattern whose fields do not
say it all has a method `outline` of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from hansang.dispatch import Dispatcher
from hansang.errors import ModelError
from hansang.graph import Chain, Function, Node
from hansang.models.model import Model

Kind = Literal["leaf", "chain", "all", "one", "own"]

# How the rows go through a pattern, by the name of its class, and the sides whose answers go no further.
WAYS: dict[str, tuple[Kind, frozenset[str]]] = {
    "Chain": ("chain", frozenset()),
    "Parallel": ("all", frozenset()),
    "Cached": ("one", frozenset()),
    "Switch": ("one", frozenset()),
    "Split": ("one", frozenset()),
    "Fallback": ("one", frozenset()),
    "Shadow": ("one", frozenset({"candidate"})),
    "Staged": ("one", frozenset({"slow"})),
    "Remote": ("leaf", frozenset()),
    "Rolled": ("one", frozenset()),
    "Constant": ("leaf", frozenset()),
}
SECONDS = ("timeout", "ttl", "deadline", "cooldown", "window", "seconds", "every", "patience")
SHARES = ("share", "weight", "rate")
PLACES = ("url", "place", "host")


@dataclass(frozen=True, slots=True)
class Side:
    """One way that rows take inside a pattern.

    `name` is what the pattern calls it, `note` when or how often it is taken. `aside` says that its answers go no
    further: they are recorded, or come later.
    """

    node: Node
    name: str = ""
    note: str = ""
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """What a node is: a `leaf`, a `chain` of its sides in their order, or sides that all get the rows.

    Of `all` sides the answers are put together under their names, unless `combined`; of `one` each row gets the answer
    of one side. How rows go inside a node of one's `own` is not known. `word` says what it is, `notes` how it is set.
    """

    kind: Kind
    word: str
    label: str
    notes: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    combined: bool = False
    partial: bool = False
    place: str = ""


def outline(node: Node) -> Outline:
    """Say how a node is put together: in its own words, or by its fields."""
    own = getattr(node, "outline", None)
    if own is not None:
        answer: Outline = own()
        return answer
    if isinstance(node, Model):
        return model_outline(node)
    if isinstance(node, Function):
        return Outline("leaf", "function", node.name, ("row by row",) if node.each else ())
    if isinstance(node, Chain):
        return Outline("chain", "chain", "", sides=tuple(Side(inner) for inner in node.nodes))
    if isinstance(getattr(node, "combine", None), Node):
        return combined_by_node(node)
    return outline_of_fields(node)


def outline_of_fields(node: Node) -> Outline:
    """Say how a pattern is put together by what its fields hold."""
    word = type(node).__name__.lower()
    if word == "constant":
        return Outline("leaf", word, in_short(repr(getattr(node, "value", ""))))
    sides = tuple(sides_of(node))
    kind, aside = way_of(node, bool(sides))
    sides = tuple(Side(side.node, side.name, side.note, side.name in aside) for side in sides)
    return Outline(
        kind,
        word,
        "" if node.label == word else node.label,
        tuple(notes_of(node)),
        sides,
        combined=getattr(node, "combine", None) is not None,
        partial=getattr(node, "quorum", None) is not None,
        place=next((str(getattr(node, name)) for name in PLACES if getattr(node, name, None)), ""),
    )


def combined_by_node(node: Any) -> Outline:
    """Say that a node makes one answer of the sides' answers: it stands behind them."""
    return Outline("chain", "chain", "", sides=(Side(replace(node, combine=None)), Side(node.combine)))


def way_of(node: Node, made_of_others: bool) -> tuple[Kind, frozenset[str]]:
    """Give how rows go through a pattern; a dispatcher only decides who answers, whatever it is called."""
    for kind in type(node).__mro__:
        if kind.__name__ in WAYS:
            way, aside = WAYS[kind.__name__]
            return way, aside.union(getattr(node, "aside", ()))
    if isinstance(node, Dispatcher):
        return "one", frozenset(getattr(node, "aside", ()))
    return ("own" if made_of_others else "leaf"), frozenset()


def model_outline(model: Model) -> Outline:
    """Say which model it is; its version and runtime when it is loaded."""
    try:
        loaded = model.loaded
    except ModelError:
        source = getattr(model.source, "__name__", None) or str(model.source)
        return Outline("leaf", "model", model.name or source)
    notes = (f"version {loaded.version}",) if loaded.version else ()
    return Outline("leaf", "model", loaded.name, (*notes, loaded.runtime.name))


# --- what the fields of a pattern say ---


def configuration(node: Any) -> list[tuple[Field[Any], Any]]:
    """Give the fields that configure a node, with their values; its name aside."""
    if not is_dataclass(node):
        return []
    return [(field, getattr(node, field.name)) for field in fields(node) if field.init and field.name != "name"]


def sides_of(node: Node) -> Iterator[Side]:
    """Find the nodes in a pattern's fields, and what they are called: the field, the key, or their place."""
    for field, value in configuration(node):
        if isinstance(value, Node):
            yield Side(value, field.name)
        elif isinstance(value, Mapping):
            beside = notes_beside(node, value)
            for key, inner in value.items():
                if isinstance(inner, Node):
                    note = beside.get(key, "")
                    yield Side(inner, str(key), note if note != key else "")
        elif isinstance(value, tuple | list):
            for place, inner in enumerate(value):
                if isinstance(inner, Node):
                    yield Side(inner, "else" if place else "first")


def notes_beside(node: Node, sides: Mapping[Any, Any]) -> dict[Any, str]:
    """Give what a field of the same keys says of each side: its weight, as a share of all, or its condition."""
    for _, value in configuration(node):
        if value is sides or not isinstance(value, Mapping) or not sides.keys() <= value.keys():
            continue
        if all(isinstance(each, int | float) for each in value.values()):
            total = sum(value.values()) or 1.0
            return {key: percent(value[key] / total) for key in sides}
        return {key: " ".join(value[key].split()) for key in sides if isinstance(value[key], str)}
    return {}


def notes_of(node: Any) -> Iterator[str]:
    """Say how a pattern is set: its simple fields that are not at their defaults, and say nothing of one side."""
    keys = {side for _, value in configuration(node) for side in sides_named(value)}
    for field, value in configuration(node):
        if field.name in PLACES or not field.repr or (isinstance(value, Mapping) and keys and keys <= value.keys()):
            continue
        if field.default is not MISSING and value == field.default:
            continue
        text = note_of(field.name, value)
        if text:
            yield text


def sides_named(value: Any) -> list[Any]:
    """Give the keys under which a field holds nodes."""
    return [key for key, inner in value.items() if isinstance(inner, Node)] if isinstance(value, Mapping) else []


def note_of(name: str, value: Any) -> str:
    """Say one setting in short; nothing for values that are no setting."""
    words = name.replace("_", " ")
    text = ""
    if isinstance(value, bool | None):
        return words if value else f"no {words}"
    if isinstance(value, int | float):
        text = number(name, value)
    elif isinstance(value, str):
        text = in_short(bare_url(value))
    elif isinstance(value, tuple | list | frozenset | set):
        text = ", ".join(value) if all(isinstance(item, str) for item in value) else ""
    elif isinstance(value, Mapping):
        pairs = [(key, item) for key, item in value.items() if isinstance(key, str) and isinstance(item, int | float)]
        text = ", ".join(f"{key} {number(name, item)}" for key, item in pairs)
    elif is_dataclass(value) and not isinstance(value, Node | type):
        return f"{words} {', '.join(notes_of(value))}".strip()
    elif callable(value) and not isinstance(value, type | Node):
        text = getattr(value, "__name__", type(value).__name__)
    return f"{words} {text}" if text else ""


def number(name: str, value: float) -> str:
    """Say a number as its name suggests: a time, a share, or as it is."""
    if any(word in name for word in SECONDS):
        return duration(value)
    return percent(value) if any(word in name for word in SHARES) and 0 <= value <= 1 else f"{value:g}"


def in_short(value: Any) -> str:
    """Say a value in a few words."""
    text = f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"


def percent(share: float) -> str:
    """Say a share of one."""
    return f"{share * 100:.3g} %"


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g} ms"


def bare_url(text: str) -> str:
    """Give an address without the password that may stand in it."""
    try:
        parts = urlsplit(text)
        if parts.scheme and (parts.username or parts.password):
            return parts._replace(netloc=f"…@{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}").geturl()
    except ValueError:
        pass
    return text
