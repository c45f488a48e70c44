"""Moments as people write them: `2026-11-23`, `2026-11-23T06:30Z`, `90m` ago."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from hansang.errors import UsageError

AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
Moment = str | float | datetime


def read_moment(moment: Moment, name: str = "since") -> float:
    """Give a moment in seconds since the epoch; a date or a time without a zone is in UTC.

    Raises `UsageError` that says how a moment is written.
    """
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, int | float):
        return float(moment)
    ago = AGO.fullmatch(moment.strip())
    if ago:
        return time.time() - float(ago[1]) * SECONDS[ago[2]]
    try:
        return read_moment(datetime.fromisoformat(moment.strip()))
    except ValueError as error:
        raise UsageError(
            f"{name}: {moment!r} is no moment; write 2026-11-23, 2026-11-23T06:30 (UTC), or 90m, 12h, 7d for ago"
        ) from error


def read_span(text: str, name: str = "within") -> float:
    """Give a span of time in seconds, written as `90m`, `12h` or `7d`."""
    found = AGO.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{name}: {text!r} is no span of time; write 90m, 12h or 7d")
    return float(found[1]) * SECONDS[found[2]]
