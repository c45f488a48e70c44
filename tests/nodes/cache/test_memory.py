"""What is kept in this process, and for how much memory."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from hansang.errors import InvalidRow, Problem
from hansang.nodes.cache.entry import Unkept, frozen, outcome_of
from hansang.nodes.cache.memory import Memory, size
from hansang.testing import Clock

WAY = ("m", "1", "")
FOREVER = float("inf")


class Face(BaseModel):
    age: int
    names: list[str]


def memory(max_rows: int = 100, max_bytes: int = 1 << 30) -> Memory:
    return Memory(max_rows, max_bytes, Clock())


def put(kept: Memory, **outcomes: Any) -> int:
    keys = [key.encode() for key in outcomes]
    return kept.put(keys, [frozen(outcome, WAY, FOREVER) for outcome in outcomes.values()])


def there(kept: Memory, *keys: str) -> str:
    found = kept.get([key.encode() for key in keys])
    return "".join(key for key, entry in zip(keys, found, strict=True) if entry is not None)


def test_the_least_recently_used_goes_first() -> None:
    kept = memory(max_rows=3)
    put(kept, a=1, b=2, c=3)
    assert there(kept, "a") == "a"
    put(kept, d=4)
    assert there(kept, "a", "b", "c", "d") == "acd"
    assert len(kept) == 3


def test_bytes_are_bounded_too_and_what_is_too_large_is_refused() -> None:
    one = size(b"a", frozen(b"x" * 1000, WAY, FOREVER))
    kept = memory(max_bytes=3 * one)
    assert put(kept, a=b"x" * 1000, b=b"x" * 1000, c=b"x" * 1000, d=b"x" * 1000) == 0
    assert there(kept, "a", "b", "c", "d") == "bcd"
    assert put(kept, e=b"x" * 5000) == 1
    assert there(kept, "b", "c", "d", "e") == "bcd"
    assert kept.bytes <= kept.max_bytes


def test_an_entry_that_is_put_again_is_counted_once() -> None:
    kept = memory()
    put(kept, a=1)
    before = kept.bytes
    put(kept, a=1)
    put(kept, a=b"x" * 1000)
    put(kept, a=1)
    assert (len(kept), kept.bytes) == (1, before)


def test_an_entry_whose_time_is_over_is_forgotten_and_its_bytes_are_free() -> None:
    clock = Clock()
    kept = Memory(10, 1 << 20, clock)
    kept.put([b"a", b"b"], [frozen(1, WAY, clock() + 10), frozen(2, WAY, clock() + 20)])
    clock.advance(9.9)
    assert there(kept, "a", "b") == "ab"
    clock.advance(0.1)
    assert there(kept, "a", "b", "a") == "b"
    assert len(kept) == 1
    clock.advance(10)
    assert there(kept, "b") == ""
    assert kept.bytes == 0


OUTCOMES: dict[str, Callable[[int], Any]] = {
    "float": float,
    "dict": lambda n: {"label": n, "probabilities": [n / 7, n / 9]},
    "model": lambda n: Face(age=n, names=[f"name {n}", f"other name {n}"]),
    "array": lambda n: np.full(100, float(n)),
    "deep": lambda n: {"array": np.full(10, float(n)), "names": [f"name {n}"] * 3, "x": {"y": (n, 2.5, f"{n}")}},
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_bytes_are_accounted_honestly(kind: str) -> None:
    make, count = OUTCOMES[kind], 2000
    kept = memory(max_rows=count)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for start in range(0, count, 50):
        numbers = range(start, start + 50)
        kept.put([b"%016d" % n + b"x" * 80 for n in numbers], [frozen(make(n), WAY, FOREVER) for n in numbers])
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.75 <= kept.bytes / (after - before) <= 1.3


@pytest.mark.parametrize("kind", OUTCOMES)
def test_who_changes_what_he_got_changes_nothing_that_is_kept(kind: str) -> None:
    value = OUTCOMES[kind](3)
    entry = frozen(value, WAY, FOREVER)
    for taken in (value, outcome_of(entry)):
        if isinstance(taken, dict):
            next(item for item in taken.values() if isinstance(item, list)).append("changed")
            taken["new"] = 1
        elif isinstance(taken, Face):
            taken.names.append("changed")
            taken.age = 99
        elif isinstance(taken, np.ndarray):
            taken[0] = 99
    np.testing.assert_equal(outcome_of(entry), OUTCOMES[kind](3))


def test_a_kept_error_comes_back_as_a_copy_without_a_traceback() -> None:
    error = InvalidRow("no", errors=[{"loc": ["x"]}], headers={"a": "b"}, retry_after=2.0)
    entry = frozen(error, WAY, FOREVER)
    for _ in range(3):
        copy = outcome_of(entry)
        assert copy is not error
        assert copy.__traceback__ is None
        assert (copy.detail, copy.errors, copy.headers, copy.retry_after) == ("no", error.errors, {"a": "b"}, 2.0)
        with pytest.raises(InvalidRow):
            raise copy


def test_what_cannot_be_copied_is_not_kept() -> None:
    class Odd(Problem):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} {two}")

    with pytest.raises(Unkept, match="Odd"):
        frozen(Odd("a", "b"), WAY, FOREVER)
    with pytest.raises(Unkept, match="lock"):
        frozen({"x": threading.Lock()}, WAY, FOREVER)
