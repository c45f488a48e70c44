"""From what a user names to the files that are read, in their order; every mistake is said before the run."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from hansang.errors import UsageError

Format = Literal["parquet", "csv", "jsonl", "file"]
SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
KNOWN = ".parquet, .csv or .jsonl"


@dataclass(frozen=True, slots=True)
class Source:
    """One input file; `size` and `modified` (nanoseconds) tell whether it is still the same."""

    path: Path
    name: str
    format: Format
    size: int
    modified: int


def find_sources(inputs: Iterable[str | PathLike[str]], *, uploads: bool) -> list[Source]:
    """Find the files of paths, globs and folders of Parquet files; with `uploads` any other file is a row of its own.

    Raises `UsageError` for what is missing, empty, or of a format that is not read.
    """
    found: dict[Path, Source] = {}
    for item in inputs:
        for path in expand(str(item)):
            found.setdefault(path.absolute(), source_of(path, uploads))
    if not found:
        raise UsageError("no input; give a file, a glob or a folder of Parquet files")
    return list(found.values())


def expand(text: str) -> list[Path]:
    """Give the files that a path, a glob or a folder stands for, sorted by name."""
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if SUFFIXES.get(file.suffix.lower()) == "parquet")
        if not files:
            raise UsageError(f"no Parquet files in the folder {text}; name files of other formats by a glob")
        return files
    if glob.has_magic(text):
        files = sorted(Path(file) for file in glob.glob(text, recursive=True) if Path(file).is_file())
        if not files:
            raise UsageError(f"no file matches {text!r}")
        return files
    raise UsageError(f"no file {text}")


def source_of(path: Path, uploads: bool) -> Source:
    """Look at one file."""
    kind = SUFFIXES.get(path.suffix.lower(), "file")
    if kind == "file" and not uploads:
        raise UsageError(f"{path} is not read: give files that end in {KNOWN}")
    try:
        with path.open("rb"):
            facts = path.stat()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return Source(path, str(path), kind, facts.st_size, facts.st_mtime_ns)


def check_out(out: Path, sources: Sequence[Source]) -> None:
    """Refuse an output that cannot be put in place."""
    if SUFFIXES.get(out.suffix.lower()) is None:
        raise UsageError(f"the output {out} must end in {KNOWN}")
    if out.is_dir():
        raise UsageError(f"the output {out} is a folder; give a file")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"no folder {out.absolute().parent} for the output; make it first")
    if any(out.resolve() == source.path.resolve() for source in sources):
        raise UsageError(f"the output {out} is one of the inputs; give another file")
