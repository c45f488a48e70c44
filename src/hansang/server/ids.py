"""Prediction ids: UUID version 7 (RFC 9562), ordered by time and not to be guessed."""

from __future__ import annotations

import itertools
import time
from secrets import token_hex

_numbers = itertools.count()


def new_ids(count: int) -> list[str]:
    """Make ids, 36 characters each; the milliseconds come first, then a sequence number, then 60 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    head = f"{milliseconds >> 16 & 0xFFFFFFFF:08x}-{milliseconds & 0xFFFF:04x}-7"
    noise = token_hex(8 * count)
    return [
        f"{head}{next(_numbers) & 0xFFF:03x}-8{noise[at : at + 3]}-{noise[at + 3 : at + 15]}"
        for at in range(0, 16 * count, 16)
    ]
