"""Signed manifests: who vouches for a model, and what may be loaded for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hansang import Model
from hansang.errors import ModelError, UntrustedModel, UsageError
from hansang.models.artifact import Artifact
from hansang.models.manifest import MANIFEST, SIGNATURE, check_manifest, write_manifest
from hansang.models.signing import sign, signer_of
from hansang.settings import Settings
from tests.models.keys import make_keys
from tests.models.steps import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", 1)


@pytest.fixture
def pickled(model: Callable[[str], Artifact], tmp_path: Path) -> Path:
    """A copy of a model that runs code on load."""
    return shutil.copytree(model("pickled/1").path, tmp_path / "pickled")


def loads(folder: Path, *signers: Path) -> bool:
    found = Model(str(folder))
    try:
        found.load(Settings(signers=signers))
    except UntrustedModel:
        return False
    found.unload()
    return True


@pytest.mark.parametrize("ssh", [False, True])
def test_a_signature_says_whose_key_made_it_and_whether_that_is_known(folder: Path, ssh: bool) -> None:
    secret, public = make_keys(folder.parent, ssh=ssh)
    _, other = make_keys(folder.parent, "other")
    assert signer_of(folder) is None
    name = sign(folder, secret)
    check_manifest(folder)
    unknown, known = signer_of(folder, [other]), signer_of(folder, [other, public])
    assert unknown is not None and known is not None
    assert (unknown.fingerprint, unknown.known) == (name, None)
    assert (known.fingerprint, known.known) == (name, public)


def test_keys_of_openssl_sign_and_check(folder: Path) -> None:
    secret, public = folder.parent / "a.pem", folder.parent / "a.pub"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", secret], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True, capture_output=True)
    sign(folder, secret)
    signer = signer_of(folder, [public])
    assert signer is not None and signer.known == public


def test_a_manifest_that_is_changed_after_it_was_signed_is_told(folder: Path) -> None:
    secret, public = make_keys(folder.parent)
    sign(folder, secret)
    (folder / "model.onnx").write_bytes(b"another model")
    with pytest.raises(ModelError, match="is not the file that the manifest names"):
        check_manifest(folder)
    write_manifest(folder)
    check_manifest(folder)
    with pytest.raises(ModelError, match=r"is not the signature of this manifest.json"):
        signer_of(folder, [public])
    with pytest.raises(ModelError, match=r"is not the signature of this manifest.json"):
        Model(str(folder), trust=True).load(Settings(signers=(public,)))


def test_a_manifest_without_a_key_takes_an_older_signature_away(folder: Path) -> None:
    secret, _ = make_keys(folder.parent)
    sign(folder, secret)
    assert sign(folder) == ""
    assert not (folder / SIGNATURE).exists() and (folder / MANIFEST).exists()
    assert signer_of(folder) is None


@pytest.mark.parametrize("text", ["", "[]", '{"key": "00", "signature": "00"}', '{"key": 1}'])
def test_a_signature_that_is_none_is_told(folder: Path, text: str) -> None:
    write_manifest(folder)
    (folder / SIGNATURE).write_text(text)
    with pytest.raises(ModelError, match=r"is not a signature on manifest.json"):
        signer_of(folder)


def test_a_signature_without_its_manifest_is_told(folder: Path) -> None:
    secret, _ = make_keys(folder.parent)
    sign(folder, secret)
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"is not a signature on manifest.json"):
        signer_of(folder)


def test_a_file_that_is_no_key_is_wrong_usage(folder: Path) -> None:
    secret, public = make_keys(folder.parent)
    for wrong, message in [
        (public, "holds no key that can be read"),
        (folder / "MLmodel", "holds no key that can be read"),
        (folder / "away", "cannot be read: No such file"),
    ]:
        with pytest.raises(UsageError, match=message):
            sign(folder, wrong)
    sign(folder, secret)
    with pytest.raises(UsageError, match="holds no key that can be read"):
        signer_of(folder, [secret])


def test_a_pickle_is_loaded_when_a_known_key_has_signed_it_and_not_otherwise(pickled: Path) -> None:
    secret, public = make_keys(pickled.parent)
    _, other = make_keys(pickled.parent, "other")
    assert not loads(pickled, public)
    sign(pickled, secret)
    assert not loads(pickled)
    assert not loads(pickled, other)
    assert loads(pickled, other, public)
    sign(pickled)
    assert not loads(pickled, public)


def test_a_pickle_that_is_exchanged_after_it_was_signed_is_not_loaded_by_any_path(pickled: Path) -> None:
    secret, public = make_keys(pickled.parent)
    sign(pickled, secret)
    (file,) = pickled.glob("*.pkl")
    file.write_bytes(file.read_bytes() + b"\0")
    for path in (pickled, pickled / "MLmodel"):
        with pytest.raises(ModelError, match="is not the file that the manifest names"):
            Model(str(path)).load(Settings(signers=(public,)))
    with pytest.raises(UntrustedModel):
        Model(str(file)).load(Settings(signers=(public,)))


def test_the_document_of_a_signature_names_the_key(folder: Path) -> None:
    secret, _ = make_keys(folder.parent)
    sign(folder, secret)
    document = json.loads((folder / SIGNATURE).read_text())
    assert (len(document["key"]), len(document["signature"])) == (64, 128)


def test_keys_are_named_in_the_environment_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSANG_SIGNERS", "a.pub, keys/b.pub")
    assert Settings().signers == (Path("a.pub"), Path("keys/b.pub"))
