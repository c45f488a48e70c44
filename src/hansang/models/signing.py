"""The signature on a model's manifest, by which a key vouches for the model's files (Ed25519, RFC 8032)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hansang.errors import ModelError, UsageError
from hansang.extras import require
from hansang.models.artifact import Artifact
from hansang.models.manifest import MANIFEST, SIGNATURE, check_manifest, manifest_of

WHAT = b"hansang manifest 1\n"  # stands before what is signed: a signature on anything else is not one on a manifest


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature a manifest has: the fingerprint of the public key, and the file of known keys that has it."""

    fingerprint: str
    known: Path | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """What vouches for a model folder: its manifest, and the signature on it, empty without a key."""

    manifest: bytes
    signature: bytes = b""
    fingerprint: str = ""

    @property
    def files(self) -> dict[str, bytes]:
        """The files by their names, in the order in which they are to be written."""
        return {MANIFEST: self.manifest} | ({SIGNATURE: self.signature} if self.signature else {})


def signed(folder: Path, key: Path | None = None) -> Signed:
    """Make the manifest of a model folder, and with a private key (PEM, Ed25519) its signature; writes nothing."""
    secret = private_key(key) if key is not None else None
    manifest = manifest_of(folder)
    if secret is None:
        return Signed(manifest)
    public = secret.public_key().public_bytes_raw()
    document = {"key": public.hex(), "signature": secret.sign(WHAT + manifest).hex()}
    return Signed(manifest, (json.dumps(document, indent=1) + "\n").encode(), fingerprint(public))


def sign(folder: Path, key: Path | None = None) -> str:
    """Write the manifest of a model folder, and with a key its signature; gives the fingerprint of the key.

    An older signature goes: it was on another manifest.
    """
    made = signed(folder, key)
    (folder / SIGNATURE).unlink(missing_ok=True)
    for name, content in made.files.items():
        part = (
            folder.parent / f".{folder.name}.{name}.{os.getpid()}"
        )  # beside the folder: inside it would be a file of it
        part.write_bytes(content)
        os.replace(part, folder / name)
    return made.fingerprint


def signer_of(folder: Path, keys: Sequence[Path] = ()) -> Signer | None:
    """Say who signed the manifest of a folder; None when nobody did.

    Raises `ModelError` when the signature is not on this manifest, or cannot be read. Anybody can make a key: only one
    that is `known` vouches for anything. Whether the files are those of the manifest `check_manifest` says.
    """
    file = folder / SIGNATURE
    if not file.is_file():
        return None
    module = crypto("primitives.asymmetric.ed25519", "a signed model")
    try:
        document = json.loads(file.read_bytes())
        public, signature = bytes.fromhex(document["key"]), bytes.fromhex(document["signature"])
        key = module.Ed25519PublicKey.from_public_bytes(public)
        manifest = (folder / MANIFEST).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is not a signature on {MANIFEST}; sign the model again") from error
    try:
        key.verify(signature, WHAT + manifest)
    except require("cryptography.exceptions", "mlflow").InvalidSignature as error:
        raise ModelError(f"{file} is not the signature of this {MANIFEST}; somebody changed one of them") from error
    return Signer(fingerprint(public), next((path for path in keys if public_key(path) == public), None))


def vouched(artifact: Artifact, keys: Sequence[Path]) -> bool:
    """Say whether a known key vouches for every file of a model; a bare file has no manifest, so none does.

    Raises `ModelError` for a signature that is wrong, and for files that are not those that were signed.
    """
    if not keys or not artifact.path.is_dir():
        return False
    signer = signer_of(artifact.path, keys)
    if signer is None or signer.known is None:
        return False
    check_manifest(artifact.path)
    return True


def fingerprint(public: bytes) -> str:
    """Name a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def private_key(path: Path) -> Any:
    """Read the key to sign with."""
    found = read_key(path, lambda serial, data: serial.load_pem_private_key(data, None))
    if not isinstance(found, crypto("primitives.asymmetric.ed25519").Ed25519PrivateKey):
        raise UsageError(f"{path} holds another kind of key; expected Ed25519: openssl genpkey -algorithm ed25519")
    return found


def public_key(path: Path) -> bytes:
    """Read a key to check with, PEM or one line of OpenSSH's."""

    def load(serial: Any, data: bytes) -> Any:
        return serial.load_ssh_public_key(data) if data.startswith(b"ssh-") else serial.load_pem_public_key(data)

    found = read_key(path, load)
    if not isinstance(found, crypto("primitives.asymmetric.ed25519").Ed25519PublicKey):
        raise UsageError(f"{path} holds another kind of key; expected a public Ed25519 key")
    raw: bytes = found.public_bytes_raw()
    return raw


def read_key(path: Path, load: Any) -> Any:
    """Read a key file."""
    serial = crypto("primitives.serialization")
    try:
        return load(serial, path.read_bytes())
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, require("cryptography.exceptions", "mlflow").UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{path} holds no key that can be read here; expected Ed25519 in PEM, without password"
        ) from error


def crypto(module: str, purpose: str = "signing a model") -> Any:
    """Import a module of cryptography, which comes along with mlflow."""
    return require(f"cryptography.hazmat.{module}", "mlflow", purpose)
