"""Equal fingerprints, equal answers: what differs in code, in configuration or in versions is told apart."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from hansang import Batch, Model, chain, node
from hansang.fingerprint import PRIVATE, described
from hansang.graph import Node
from hansang.site import Site


def made(text: str, name: str = "f", **names: Any) -> Any:
    """Make a function of a module `service` from its text."""
    space: dict[str, Any] = {"__name__": "service", **names}
    exec(compile(text, "service.py", "exec"), space)
    return space[name]


BASE = "def f(row):\n    return row + 1\n"


def test_a_function_is_told_by_its_code_not_by_where_it_stands() -> None:
    assert described(made(BASE)) == described(made("\n\n# a comment\n" + BASE))
    others = [
        "def f(row):\n    return row + 2\n",
        "def f(row):\n    return row - 1\n",
        "def f(row, by=1):\n    return row + 1\n",
        "def f(row):\n    return row.x\n",
        "def f(row):\n    return row.y\n",
        "def f(row):\n    return [n + 1 for n in row]\n",
        "def f(row):\n    return [n + 2 for n in row]\n",
        "def f(row):\n    return row in {'a', 'b'}\n",
        "async def f(row):\n    return row + 1\n",
    ]
    texts = [described(made(text)) for text in (BASE, *others)]
    assert len(set(texts)) == len(texts)
    assert not any(PRIVATE in text for text in texts)


def test_what_a_function_uses_counts_too() -> None:
    text = "LIMIT = {}\nTABLE = {}\ndef g(row):\n    return row * {}\nclass C:\n    def m(self):\n        return {}\n"
    text += "def f(row):\n    return (g(row), C().m(), LIMIT, TABLE)\n"
    first = ("3", "{'a': [1]}", "2", "5")
    changed = [("4", *first[1:]), ("3", "{'a': [2]}", *first[2:]), (*first[:2], "3", "5"), (*first[:3], "6")]
    texts = [described(made(text.format(*values))) for values in (first, *changed)]
    assert len(set(texts)) == len(texts)
    assert described(made(text.format(*first))) == texts[0]


def test_defaults_closures_and_partials_count() -> None:
    def plus(number: Any, array: Any = None) -> Callable[..., Any]:
        def add(row: int, by: int = 1) -> Any:
            return (row + number + by, array)

        return add

    plain = [plus(1), plus(2), plus(1.0), plus(1, np.zeros(2)), plus(1, np.ones(2)), plus(1, [1])]
    partials = [functools.partial(plus(1), 3), functools.partial(plus(1), 4), functools.partial(plus(1), by=3)]
    texts = [described(each) for each in plain + partials]
    assert len(set(texts)) == len(texts)
    assert described(plus(1)) == texts[0]


def test_functions_that_call_each_other_come_to_an_end() -> None:
    text = "def g(row):\n    return f(row)\ndef f(row):\n    return g(row)\n"
    assert described(made(text)) == described(made(text))


def test_what_cannot_be_told_from_another_processs_is_never_shared() -> None:
    lock = threading.Lock()

    def locked(row: int) -> int:
        with lock:
            return row

    assert PRIVATE in described(locked)
    assert PRIVATE in described(node(locked))


class Scaler:
    """A callable object of the user's own."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, batch: Batch) -> list[Any]:
        return [row * self.factor for row in batch.rows]


def test_a_callable_object_is_told_by_its_class_and_what_it_holds() -> None:
    one, same, other = (described(node(Scaler(factor))) for factor in (1.0, 1.0, 2.0))
    assert one == same != other
    assert PRIVATE not in one
    renamed = type("Scaler", (), dict(vars(Scaler)))
    setattr(renamed, "__call__", FunctionType(Scaler.__init__.__code__, globals()))  # noqa: B010  # other code
    assert described(renamed) != described(Scaler)


def test_nodes_are_told_by_their_fields_and_their_order() -> None:
    @node
    def one(batch: Batch) -> list[Any]:
        return batch.rows

    @node.each
    def two(row: Any) -> Any:
        return row

    graphs = [chain(one, two), chain(two, one), chain(one, one), one >> one >> one, one, two]
    texts = [graph.fingerprint() for graph in graphs]
    assert len(set(texts)) == len(texts)
    assert chain(one, two).fingerprint() == texts[0]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern(Node):
    """A node with options and run-time state."""

    inner: Node
    share: float = 1.0
    state: list[object] = field(default_factory=lambda: [object()], init=False, repr=False)


def test_a_nodes_state_and_its_measuring_are_no_part_of_it() -> None:
    inner = node(Scaler(1.0))
    one, other = Pattern(inner), Pattern(inner, 0.5)
    assert one.fingerprint() == Pattern(inner).fingerprint() != other.fingerprint()
    assert Site().bind(inner).fingerprint() == inner.fingerprint()
    assert Site().bind(one).fingerprint() == one.fingerprint()


PATTERNS = """
from hansang import cached, fallback, node, parallel, remote, shadow, split, staged, switch
from hansang.fingerprint import PRIVATE
from hansang.site import Site

@node
def one(batch):
    return batch.rows

@node
def two(batch):
    return [{"a", "b", str(row)} for row in batch.rows]

GRAPHS = [
    one >> two,
    cached(one, key=["a", "b"]),
    fallback(one, {"x": 1}, timeout=1.0),
    parallel(x=one, y=two, combine="vote", timeout=1.0),
    parallel(x=one, y=two, combine=lambda answers: answers["x"]),
    remote("http://127.0.0.1:1/predict"),
    shadow(one, two),
    split({"left": (one, 50), "right": (two, 50)}, by="x"),
    staged(one, two),
    switch({"x > 3": one}, default=two),
    switch(lambda row: row["x"], {"a": one}, default=two),
]
for graph in GRAPHS:
    for text in (graph.fingerprint(), Site(service="s", endpoint="p").graph(graph).fingerprint()):
        print(PRIVATE in text, text)
"""


def test_every_pattern_says_the_same_in_every_process_bound_or_not() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", PATTERNS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    texts = said[0].splitlines()
    assert all(text.startswith("False ") for text in texts), said[0]
    assert len(set(texts[::2])) == len(texts) // 2


def test_no_address_is_part_of_a_fingerprint() -> None:
    graph = Pattern(node(Scaler(1.0))) >> node(lambda batch: batch.rows)
    assert not re.search(r" at 0x[0-9a-f]+", graph.fingerprint())


def test_a_model_is_told_by_what_is_loaded(tmp_path: Path) -> None:
    def one(batch: Batch) -> list[Any]:
        return [row + 1 for row in batch.rows]

    def two(batch: Batch) -> list[Any]:
        return [row + 2 for row in batch.rows]

    models = [Model(one, name="m"), Model(two, name="m"), Model(one, name="n"), Model(one, name="m", max_batch=4)]
    texts = []
    for model in models:
        model.load()
        texts.append(model.fingerprint())
        model.unload()
    assert len(set(texts[:3])) == 3
    assert texts[3] == texts[0]
    with pytest.raises(Exception, match="is not loaded"):
        models[0].fingerprint()
