"""Putting a manifest and its signature where the files of a version are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from hansang.errors import ModelError
from hansang.models.manifest import SIGNATURE
from hansang.models.registries.rest import RestRegistry
from hansang.models.signing import sign, signed
from hansang.models.uri import PROXY
from hansang.models.versions.opened import Opened, folder_of


def sign_version(opened: Opened, key: Path | None) -> str:
    """Write the manifest of a version, and with a key its signature, beside its files; gives the fingerprint.

    They go where the registry has the files: into the folder, or through an MLflow server that keeps its artifacts
    itself, and into this machine's copy of them. Files in an object store are refused, by a `ModelError`, and so is a
    manifest without a key in the place of one that is signed.
    """
    folder = folder_of(opened)
    if key is None and (folder / SIGNATURE).is_file():
        raise ModelError(f"{opened.title} is signed already; give --key to sign it anew")
    location = urlsplit(opened.version.location if opened.version is not None else "")
    if location.scheme == PROXY and isinstance(opened.registry, RestRegistry):
        for name, content in signed(folder, key).files.items():
            opened.registry.upload(f"{location.path.strip('/')}/{name}", content)
    elif location.scheme != "file" and len(location.scheme) > 1:
        raise ModelError(
            f"{opened.title} is in {location.scheme}://, which is not written to; sign it before you log it"
        )
    return sign(folder, key)
