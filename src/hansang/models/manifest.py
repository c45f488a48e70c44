"""The manifest of a model's files: what must be there, byte for byte, before any of it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hansang.errors import ModelError
from hansang.models.artifact import files

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
ADDED = frozenset({MANIFEST, SIGNATURE, "registered_model_meta"})  # mlflow's client adds the last to what it fetches


def check_manifest(folder: Path) -> None:
    """Refuse a model folder whose files are not those that its manifest names; one without a manifest passes.

    The manifest is `manifest.json` beside `MLmodel`: `{"files": {"MLmodel": "<sha256 in hex>", …}}` with every file
    of the folder. It finds files that were damaged or exchanged; who its author is the signature says, see `signing`.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return
    try:
        named = json.loads(file.read_bytes())["files"]
        wanted = {str(name): str(value).lower() for name, value in named.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{file} is not a manifest; expected {{"files": {{"MLmodel": "<sha256>", …}}}}') from error
    found = hashes(folder)
    for what, names in (
        ("is missing", wanted.keys() - found.keys()),
        ("is not in the manifest", found.keys() - wanted.keys()),
        ("is not the file that the manifest names", {name for name in wanted if found.get(name) != wanted[name]}),
    ):
        if names:
            raise ModelError(f"{folder}: {min(names)} {what}; fetch the model again, or register it again")


def write_manifest(folder: Path) -> Path:
    """Write the manifest of a model folder, over an older one."""
    file = folder / MANIFEST
    file.write_bytes(manifest_of(folder))
    return file


def manifest_of(folder: Path) -> bytes:
    """Make the manifest of a model folder as it stands in the file."""
    return (json.dumps({"files": hashes(folder)}, indent=1, sort_keys=True) + "\n").encode()


def hashes(folder: Path) -> dict[str, str]:
    """Hash every file of a folder."""
    found = {}
    for file in files(folder):
        name = file.relative_to(folder).as_posix()
        if name not in ADDED:
            found[name] = hash_of(file)
    return found


def hash_of(file: Path) -> str:
    """Hash a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
