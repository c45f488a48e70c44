"""Which sinks a record has: each service that writes to it says so in `sinks/wanted/<service>.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hansang.record.files import replace_text
from hansang.record.sinks.address import Address, check, read
from hansang.record.sinks.position import FOLDER


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sinks of a record, by name; `limit` is the most bytes that retention holds back for them."""

    sinks: dict[str, Address] = field(default_factory=dict)
    limit: int | None = None

    @property
    def shown(self) -> dict[str, str]:
        """The sinks' URLs without their secrets."""
        return {name: str(address) for name, address in self.sinks.items()}


def set_wanted(folder: Path, service: str, urls: Sequence[str], limit: int | None = None) -> None:
    """Say which sinks a service wants for the record that it writes; none takes them back.

    The rows of all services in the folder go to all sinks. The file may hold a password, so only its owner can read it.
    Raises `UsageError` for a URL that is none, `MissingExtra` when a package is missing, `OSError` from the disk.
    """
    check(urls)
    path = folder / FOLDER / "wanted" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', service)}.json"
    if not urls:
        path.unlink(missing_ok=True)
        return
    document = json.dumps({"urls": list(urls), "limit": limit})
    with suppress(FileNotFoundError):
        if path.read_text("utf-8") == document:
            return
    replace_text(path, document, 0o600)


def read_wanted(folder: Path) -> Wanted:
    """Read which sinks a record has; the smallest limit counts."""
    sinks: dict[str, Address] = {}
    limits: list[int] = []
    for path in sorted((folder / FOLDER / "wanted").glob("*.json")):
        with suppress(FileNotFoundError):
            document = json.loads(path.read_text("utf-8"))
            limits += [document["limit"]] if document["limit"] is not None else []
            for address in map(read, document["urls"]):
                sinks[address.name] = address
    return Wanted(sinks, min(limits, default=None))
