"""Everything that is decided, and everything that can be wrong, before the first row is scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from hansang import __version__
from hansang.errors import UsageError
from hansang.scoring.inputs import SUFFIXES, Source, check_out, find_sources
from hansang.scoring.read import csv_header, open_parquet
from hansang.scoring.scorer import Keep, Layout, Scorer
from hansang.scoring.worker import models_of
from hansang.service import Endpoint, Service

PLAIN_ROWS, OTHER_ROWS, UPLOAD_ROWS = 65536, 4096, 32


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: what is read, what scores it, and what makes another run the same one."""

    sources: list[Source]
    scorer: Scorer
    layout: Layout
    chunk: int
    identity: dict[str, Any]

    @property
    def columns(self) -> frozenset[str] | None:
        """The input columns that are read; None is all of them."""
        if self.layout.keep == "all":
            return None
        kept = () if self.layout.keep == "none" else self.layout.keep
        return frozenset(self.scorer.by_row.properties) | frozenset(kept)


def choose_endpoint(service: Service, path: str | None) -> Endpoint:
    """Find the endpoint that scores: the named one, the only one, or the one at /predict."""
    paths = {endpoint.path: endpoint for endpoint in service.endpoints}
    if path is not None:
        if path not in paths:
            raise UsageError(f"no endpoint {path!r}; the service has: {', '.join(paths)}")
        return paths[path]
    if len(paths) == 1:
        return next(iter(paths.values()))
    if "/predict" in paths:
        return paths["/predict"]
    raise UsageError(f"the service has several endpoints; choose with --endpoint: {', '.join(paths)}")


def make_plan(
    service: Service,
    endpoint: Endpoint,
    inputs: Iterable[str | PathLike[str]],
    out: Path,
    *,
    keep: str | Sequence[str] = "all",
    chunk: int | None = None,
    target: str | None = None,
) -> Plan:
    """Check inputs, output and columns; the service is loaded.

    Raises `UsageError` with what is wrong and what to do.
    """
    if chunk is not None and chunk < 1:
        raise UsageError(f"a chunk of {chunk} rows is impossible; give at least 1")
    probe = Scorer(endpoint, Layout("none", False, False))
    sources = find_sources(inputs, uploads=takes_files(probe))
    check_out(out, sources)
    wanted = read_keep(keep)
    check_columns(sources, probe, wanted)
    layout = Layout(wanted, len(sources) > 1, SUFFIXES[out.suffix.lower()] == "csv")
    scorer = Scorer(endpoint, layout)
    rows = chunk or default_rows(scorer, sources)
    identity = {
        "version": __version__,
        "inputs": digest([(str(source.path.absolute()), source.size, source.modified) for source in sources]),
        "target": [service.name, endpoint.path, digest([scorer.codec.schema, output_schema(scorer)]), code(target)],
        "models": models_of(service),
        "options": {
            "rows": rows,
            "keep": list(wanted) if isinstance(wanted, tuple) else wanted,
            "text": layout.as_text,
        },
    }
    return Plan(sources, scorer, layout, rows, identity)


def takes_files(scorer: Scorer) -> bool:
    """Say whether a file alone makes a row: an upload is the only field that is required."""
    uploads = scorer.codec.uploads
    return bool(uploads) and scorer.by_row.required <= {uploads[0]}


def default_rows(scorer: Scorer, sources: Sequence[Source]) -> int:
    """Choose how many rows are read, and kept safe, at once."""
    if scorer.codec.uploads:
        return UPLOAD_ROWS
    return PLAIN_ROWS if scorer.by_column is not None and sources[0].format != "jsonl" else OTHER_ROWS


def read_keep(keep: str | Sequence[str]) -> Keep:
    """Read which input columns are kept: all, none, or names."""
    if keep in ("all", "none"):
        return "all" if keep == "all" else "none"
    names = tuple(name.strip() for name in (keep.split(",") if isinstance(keep, str) else keep) if name.strip())
    if not names:
        raise UsageError("name the columns to keep, or give all or none")
    return names


def check_columns(sources: Sequence[Source], scorer: Scorer, keep: Keep) -> None:
    """Open every file that has columns; those that the schema requires, and those to keep, must be there."""
    known: set[str] = set()
    for source in sources:
        if source.format == "parquet":
            with open_parquet(source.path) as file:
                names = list(file.schema_arrow.names)
        elif source.format == "csv":
            names = csv_header(source.path)
        else:
            continue
        missing = sorted(scorer.by_row.required - set(names))
        if missing:
            raise UsageError(
                f"{source.path} lacks the columns {', '.join(missing)}, which {scorer.endpoint.path} needs; "
                f"it has: {', '.join(names) or 'none'}"
            )
        known.update(names)
    tabular = all(source.format in ("parquet", "csv") for source in sources)
    unknown = [name for name in keep if name not in known] if isinstance(keep, tuple) and tabular else []
    if unknown:
        raise UsageError(f"no column {', '.join(unknown)} to keep; the inputs have: {', '.join(sorted(known))}")


def output_schema(scorer: Scorer) -> Any:
    """Describe what a prediction is, as far as it is declared."""
    return scorer.codec.output.json_schema(mode="serialization") if scorer.codec.output is not None else None


def digest(value: Any) -> str:
    """Hash plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def code(target: str | None) -> str:
    """Name a target; a Python file with the hash of its text, so that other code is another run."""
    path = Path((target or "").partition(":")[0])
    if path.suffix == ".py" and path.is_file():
        return f"{target} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return target or ""
