"""Model files fetched once, and what each URI last meant, so that a restart does not need the registry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from hansang.errors import ModelError
from hansang.models.registry import ModelVersion

FOLDER = Path(".hansang/models")
STALE = 86400.0


class Cache:
    """A folder of fetched models, one sub-folder a model id; safe for many processes at once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or FOLDER

    def fetch(self, version: ModelVersion, fill: Callable[[Path], None]) -> Path:
        """Give the model's folder, filled by `fill` if it is not there yet; it appears whole or not at all."""
        place = self.place(version)
        if place.is_dir():
            return place
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))
        try:
            fill(part)
            try:
                os.rename(part, place)
            except OSError:
                if not place.is_dir():  # else another process was quicker
                    raise
        except OSError as error:
            raise ModelError(
                f"the model cannot be kept in {self.folder}: {error}; free space, or set another folder"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return place

    def place(self, version: ModelVersion) -> Path:
        """Give the folder of a model, whether it is there or not."""
        return self.folder / key(version)

    def remember(self, registry: str, uri: str, version: ModelVersion) -> None:
        """Note what a URI means now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self._note(registry, uri)
        part = note.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"uri": uri, **asdict(version)}))
        os.replace(part, note)

    def recall(self, registry: str, uri: str) -> ModelVersion | None:
        """Give what a URI last meant, if its files are still here."""
        version = self.last(registry, uri)
        return version if version is not None and self.place(version).is_dir() else None

    def last(self, registry: str, uri: str) -> ModelVersion | None:
        """Give what a URI last meant, wherever its files are."""
        try:
            facts = json.loads(self._note(registry, uri).read_text())
            facts.pop("uri")
            return ModelVersion(**{**facts, "aliases": tuple(facts["aliases"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _sweep(self) -> None:
        """Remove what killed processes left behind."""
        for part in self.folder.glob(".part-*"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < time.time() - STALE:
                    shutil.rmtree(part, ignore_errors=True)

    def _note(self, registry: str, uri: str) -> Path:
        return self.folder / f"{hashlib.sha256(f'{registry} {uri}'.encode()).hexdigest()[:32]}.json"


def key(version: ModelVersion) -> str:
    """Name a model's folder: by its id where MLflow gave one, else by where it comes from."""
    model_id = version.model_id or ""
    if model_id.startswith("m-") and model_id[2:].isalnum():
        return model_id
    return "at-" + hashlib.sha256(version.location.encode()).hexdigest()[:32]
