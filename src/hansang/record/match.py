"""Truths that know no prediction id: found by the caller's request id, or by a key and a time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hansang.record.read import connect, query

Wanted = tuple[str, int | None, float]  # a name, the number of a row where it is known, a time in seconds
Found = dict[int, list[tuple[str, int]]]  # by the place of what was wanted: prediction ids and row numbers
Match = Callable[[Sequence[Wanted]], Found]

REQUESTS = """
SELECT DISTINCT wanted.place, p.id, p.row FROM wanted JOIN names AS p
ON wanted.name = p.name AND (wanted.row IS NULL OR wanted.row = p.row)
ORDER BY ALL
"""
NEWEST = """
SELECT wanted.place, p.id, p.row FROM wanted ASOF JOIN names AS p
ON wanted.name = p.name AND wanted.moment >= p.moment
WHERE wanted.moment - p.moment <= $within ORDER BY ALL
"""


def by_request(folder: Path) -> Match:
    """Match a request id with all live rows of that request; of one that was sent again, with all its predictions."""
    return matcher(folder, "request_id", REQUESTS)


def by_key(folder: Path, within: float) -> Match:
    """Match a key with the newest live row that is not after the truth and at most so many seconds before it."""
    return matcher(folder, "key", NEWEST.replace("$within", "1e300" if math.isinf(within) else repr(within)))


def matcher(folder: Path, column: str, sql: str) -> Match:
    """Read the names of all live rows once, and match against them."""
    connection = connect(folder)
    connection.execute(f"""
        CREATE TEMP TABLE names AS
        SELECT {column} AS name, id, row, epoch_us(time) / 1e6 AS moment FROM predictions
        WHERE role = 'live' AND {column} IS NOT NULL
    """)

    def match(wanted: Sequence[Wanted]) -> Found:
        columns: list[Any] = list(zip(*wanted, strict=True)) if wanted else [[], [], []]
        connection.register(
            "wanted",
            pa.table(
                {
                    "place": pa.array(range(len(wanted)), pa.int64()),
                    "name": pa.array(columns[0], pa.string()),
                    "row": pa.array(columns[1], pa.int32()),
                    "moment": pa.array(columns[2], pa.float64()),
                }
            ),
        )
        found: Found = defaultdict(list)
        for row in query(connection, sql).to_pylist():
            found[row["place"]].append((row["id"], row["row"]))
        return found

    return match
