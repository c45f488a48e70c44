"""The id of a prediction, a UUID of version 7: what it looks like, and the time in it."""

from __future__ import annotations

import re

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def id_milliseconds(id: str) -> int:
    """Read the time in an id, in milliseconds since the epoch."""
    return int(id[:8] + id[9:13], 16)
