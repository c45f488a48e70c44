"""Finished parts of a run, kept beside the output until it is whole; what a killed run leaves, the next one takes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from hansang.errors import UsageError

MANIFEST = "manifest.json"
ERRORS = b"hansang.errors"
WHAT = {
    "inputs": "the input files",
    "target": "the target",
    "models": "the models",
    "options": "the options",
}


class Parts:
    """The folder `OUT.parts`: one Arrow file a chunk, and a manifest that says which run they belong to."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".parts")

    @contextmanager
    def opened(self, identity: Mapping[str, Any], restart: bool) -> Iterator[set[int]]:
        """Hold the folder for this run and give the chunks that are finished.

        Raises `UsageError` when another run holds it, or when it is left from a run that is not this one.
        """
        self.folder.mkdir(exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"another run is writing {self.out}; wait for it, or give another output") from None
            yield self._finished(identity, restart)
        finally:
            os.close(lock)

    def _finished(self, identity: Mapping[str, Any], restart: bool) -> set[int]:
        manifest = self.folder / MANIFEST
        before = read_manifest(manifest)
        if before is not None and before != identity and not restart:
            changed = [words for key, words in WHAT.items() if before.get(key) != identity.get(key)]
            raise UsageError(
                f"{self.folder} is left from another run: {', '.join(changed) or 'the version'} changed; "
                "give --restart to begin again, or another output"
            )
        if before != identity or restart:
            for file in self.folder.glob("*.arrow*"):
                file.unlink()
            write_durably(manifest, json.dumps(identity, indent=1).encode())
        for file in self.folder.glob("*.tmp"):
            file.unlink()
        return {int(file.stem) for file in self.folder.glob("*.arrow")}

    def path(self, index: int) -> Path:
        """Give the file of a chunk."""
        return self.folder / f"{index:09d}.arrow"

    def write(self, index: int, table: Any, errors: Mapping[str, int]) -> None:
        """Write a chunk's rows so that they are there whole or not at all."""
        final = self.path(index)
        temporary = final.with_suffix(f".arrow.{os.getpid()}.tmp")
        schema = table.schema.with_metadata({ERRORS: json.dumps(errors).encode()})
        with temporary.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                writer.write_table(table.cast(schema))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(final)

    def read(self, index: int) -> Any:
        """Read a chunk's rows."""
        with pa.OSFile(str(self.path(index))) as file:
            return pa.ipc.open_file(file).read_all()

    def remove(self) -> None:
        """Remove the folder once the output is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)


def errors_of(table: Any) -> Counter[str]:
    """Give the errors that were counted when a part was written."""
    return Counter(json.loads((table.schema.metadata or {}).get(ERRORS, b"{}")))


def read_manifest(path: Path) -> Any:
    """Read a manifest; one that is broken belongs to no run."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power loss."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
