"""A run of rows of one input, as it was read: the unit of work, of resuming and of the output's order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal["table", "text", "lines", "files"]


@dataclass(slots=True)
class Chunk:
    """Rows of one input as they were read.

    `start` is the number of the first row over all inputs. `form` says what is there: `table` is an Arrow table,
    `text` one whose cells are the bytes of a CSV file, `lines` the lines of a JSON Lines file and `files` paths, one a
    row. `unread` says why rows at some positions could not be read at all. `weight` is the part of the input's bytes.
    """

    index: int
    start: int
    source: str
    form: Form
    rows: int
    table: Any = None
    lines: list[bytes] = field(default_factory=list)
    unread: dict[int, str] = field(default_factory=dict)
    weight: float = 0.0
