"""What the prediction record can tell the doctor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from hansang.errors import RecordError
from hansang.extras import require
from hansang.record.losses import corrupt_rows

SAMPLE = 2000


@dataclass(frozen=True, slots=True)
class Past:
    """What was recorded of one endpoint: its latest inputs as they were sent, and its busiest second.

    `rate` is in rows a second, averaged over the busiest minute; `repeated` is the share of the latest rows whose
    input had come before among them.
    """

    inputs: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    rate: float = 0.0
    repeated: float = 0.0


def past_of(folder: Path, service: str, endpoint: str) -> Past:
    """Read what was recorded of an endpoint; nothing where there is no record."""
    database = opened(folder)
    if database is None:
        return Past()
    where = "service = ? AND endpoint = ? AND role = 'live' AND status = 200"
    with database:
        minute = database.execute(
            f"SELECT count(*) FROM predictions WHERE {where} "
            "GROUP BY time_bucket(INTERVAL '1 minute', time) ORDER BY 1 DESC LIMIT 1",
            [service, endpoint],
        ).fetchone()
        total = database.execute(f"SELECT count(*) FROM predictions WHERE {where}", [service, endpoint]).fetchone()
        latest = database.execute(
            f"SELECT input FROM predictions WHERE {where} AND input IS NOT NULL ORDER BY time DESC LIMIT {SAMPLE}",
            [service, endpoint],
        ).fetchall()
    texts = [text for (text,) in latest]
    inputs = [row for text in texts if isinstance(row := from_json(text), dict) and "omitted" not in row]
    repeated = 1.0 - len(set(texts)) / len(texts) if texts else 0.0
    return Past(inputs, total[0] if total else 0, minute[0] / 60.0 if minute else 0.0, repeated)


def tried(folder: Path, model: str, version: str) -> int:
    """Count the recorded rows in which this version of a model was a shadow or one side of a split."""
    database = opened(folder)
    if database is None:
        return 0
    with database:
        found = database.execute(
            "SELECT count(*) FROM predictions WHERE list_contains(string_split(model, ','), ?) "
            "AND list_contains(string_split(version, ','), ?) AND (role = 'shadow' OR variant <> '')",
            [model, version],
        ).fetchone()
    return found[0] if found else 0


def lost_rows(folder: Path) -> int:
    """Count the rows of a record that were written and cannot be read back."""
    return corrupt_rows(folder) if folder.is_dir() else 0


def opened(folder: Path) -> Any:
    """Open a record; `None` where there is none yet."""
    try:
        return require("hansang.record.read", "").connect(folder)
    except RecordError:
        return None
