"""A version of an MLflow server is signed where its files are, and whoever fetches it then has the signature."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansang.errors import ModelError
from hansang.models.cache import Cache
from hansang.models.manifest import check_manifest
from hansang.models.registry import ModelVersion
from hansang.models.signing import signer_of
from hansang.models.versions.facts import facts
from hansang.models.versions.opened import Opened, full_uri, open_uri
from hansang.models.versions.publish import sign_version
from tests.models.conftest import Server
from tests.models.keys import make_keys
from tests.models.steps import upload, write


@pytest.mark.timeout(120)
def test_a_version_is_signed_on_its_server(server: Server, tmp_path: Path) -> None:
    secret, public = make_keys(tmp_path)
    upload(server.uri, tmp_path, "signed", [write(tmp_path / "model", 1)])
    here = open_uri("models:/signed/1", server.uri, Cache(tmp_path / "here"))
    assert facts(here)["manifest"]["there"] is False
    name = sign_version(here, secret)
    for cache in ("here", "elsewhere"):
        opened = open_uri("models:/signed/1", server.uri, Cache(tmp_path / cache))
        check_manifest(opened.path)
        signer = signer_of(opened.path, [public])
        assert signer is not None and (signer.fingerprint, signer.known) == (name, public)
        assert facts(opened, [public])["manifest"] == {"there": True, "signed_by": name, "known": True, "fault": None}
    with pytest.raises(ModelError, match="is signed already; give --key"):
        sign_version(here, None)


def test_files_in_an_object_store_are_not_written_to(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", 1)
    opened = Opened("models:/x/1", folder, ModelVersion("x", "1", "s3://bucket/x"))
    with pytest.raises(ModelError, match="x version 1 is in s3://, which is not written to"):
        sign_version(opened, None)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("text", "beside", "uri"),
    [
        ("models:/bikes/4", "", "models:/bikes/4"),
        ("bikes/4", "", "models:/bikes/4"),
        ("bikes@next", "", "models:/bikes@next"),
        ("bikes", "", "models:/bikes"),
        ("5", "models:/bikes/4", "models:/bikes/5"),
        ("@next", "models:/bikes/4", "models:/bikes@next"),
        ("cars/5", "models:/bikes/4", "models:/cars/5"),
    ],
)
def test_what_a_person_types_names_a_model(
    text: str, beside: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert full_uri(text, beside) == uri
