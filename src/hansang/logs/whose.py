"""Whose requests the code that runs works for, so that a line that it logs can name them.

Nothing but log lines reads this: what a row needs travels in its `Call`. It is set around every call of a node, of a
model and of a row function, also in threads, and taken back after it: a task or a thread that serves many requests one
after the other never speaks for one that is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

MOST = 32  # ids of one line

# What runs works for: a Batch, calls, or one Call or request of another route, with an id, request_id and trace_id.
around: ContextVar[Any] = ContextVar("hansang_requests", default=None)


def callers() -> Sequence[Any]:
    """Give the calls of the rows that are worked on; none outside of requests."""
    value = around.get()
    if value is None or isinstance(value, list):
        return value or ()
    has_calls = getattr(value, "has_calls", None)
    if has_calls is None:
        return (value,)
    return value.calls if has_calls else ()


def request_ids(calls: Sequence[Any]) -> list[str]:
    """Give the ids of the requests, each once: the `x-request-id` that came, else the prediction's id."""
    return list(dict.fromkeys([id for call in calls if (id := call.request_id or call.id)]))


def trace_ids(calls: Sequence[Any]) -> list[str]:
    """Give the ids of the traces that the requests belong to, each once."""
    return list(dict.fromkeys([id for call in calls if (id := call.trace_id)]))
