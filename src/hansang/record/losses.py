"""Rows that a writer lost, kept beside the record in `lost/`: a file for each process that lost some."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

LOST = "lost"
written: dict[Path, dict[str, int]] = {}


def keep_losses(folder: Path, kind: str, lost: Mapping[str, int]) -> None:
    """Keep what this process has lost so far, by reason, when that has changed; a full disk is tried again later."""
    path = folder / LOST / f"{kind}-{os.getpid()}-{BIRTH}.json"
    counts = {reason: rows for reason, rows in lost.items() if rows}
    if not counts or written.get(path) == counts:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"time": time.time(), "lost": counts}))
        os.replace(temporary, path)
        written[path] = counts


BIRTH = time.time_ns()


def read_losses(folder: Path) -> Counter[str]:
    """Give the rows that the writers of a record have lost, by reason, those that live no more included."""
    lost: Counter[str] = Counter()
    for path in (folder / LOST).glob("*.json"):
        with suppress(FileNotFoundError, ValueError):
            lost += Counter(json.loads(path.read_text())["lost"])
    return lost


def corrupt_rows(folder: Path) -> int:
    """Count the rows of a record that could not be read back; their segments are kept under `corrupt`."""
    return sum(int(path.suffixes[-2].removeprefix(".")) for path in (folder / "corrupt").glob("*.corrupt"))
