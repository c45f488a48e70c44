"""A log that quotes nobody: where fields have policies, errors are told by their class and their place."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from hansang.errors import HansangError, InvalidRow, Problem

LOGGERS = ("hansang", "hansang.lifespan", "uvicorn.error", "asyncio")  # that can say what a row's failure said


def told(error: BaseException) -> str:
    """Say what failed and where, never in the error's own words: they may quote the row."""
    if isinstance(error, InvalidRow):
        count = len(error.errors or ()) or 1
        return f"{count} {'fault' if count == 1 else 'faults'} in the row"
    cause = error.__cause__ if isinstance(error, Problem) and error.__cause__ is not None else error
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" in {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    name = type(cause).__name__
    return name + place if cause is error else f"{type(error).__name__}: {name}{place}"


def stack(error: BaseException | None, trace: TracebackType | None = None) -> str:
    """Write the traceback of an error and of its causes without their texts."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(trace or error.__traceback__))
        parts.append(f"{frames}{type(error).__module__}.{type(error).__qualname__}")
        trace, error = None, error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nbecause of\n\n".join(parts)


def silenced(record: logging.LogRecord) -> bool:
    """Take the texts of errors out of a line of the log; it is a logging filter that lets every line pass."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(quoted, record.args))
    if record.exc_info:
        _, error, trace = record.exc_info
        record.exc_info, record.exc_text = None, stack(error, trace)
    return True


def quoted(value: Any) -> Any:
    """Give what the log may say of a value; errors of the operator's own concern are told in full."""
    if not isinstance(value, BaseException) or (isinstance(value, HansangError) and not isinstance(value, Problem)):
        return value
    return told(value)


@contextmanager
def quiet(on: bool) -> Iterator[None]:
    """Have the log quote nobody while the block runs."""
    loggers = [logging.getLogger(name) for name in LOGGERS] if on else []
    for logger in loggers:
        logger.addFilter(silenced)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(silenced)
