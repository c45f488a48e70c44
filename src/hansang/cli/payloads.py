"""What `hansang records show` does with payloads: it writes them into a folder, and opens them."""

from __future__ import annotations

import mimetypes
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from hansang.errors import RecordError
from hansang.record.payloads import fetch, references_of


def take_out(folder: Path, rows: Iterable[dict[str, Any]], into: Path | None, *, opened: bool) -> list[str]:
    """Write the payloads of rows into a folder, and open them; gives a line for each, which says where it is.

    Raises `RecordError` when one cannot be read.
    """
    into = into or Path(tempfile.mkdtemp(prefix="hansang-payloads-"))
    into.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for each in {each.sha256: each for row in rows for each in references_of(row)}.values():
        data = fetch(folder, each.sha256)
        if data is None:
            lines.append(f"{each.at}: {each.sha256} is not kept")
            continue
        suffix = mimetypes.guess_extension(each.media_type.partition(";")[0]) or ".bin"
        path = into / f"{each.at.replace('/', '_')}-{each.sha256[:12]}{suffix}"
        path.write_bytes(data)
        lines.append(f"{each.at}: {path}, {len(data):,} bytes of {each.media_type}")
        if opened and typer.launch(str(path)):
            raise RecordError(f"nothing opens {path}; it is there")
    return lines
