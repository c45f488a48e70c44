"""What `verify` finds is what a swap would: each fault fails its own check, and says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hansang import Model
from hansang.models.artifact import Artifact
from hansang.models.manifest import write_manifest
from hansang.models.signature import Column, Scalar
from hansang.models.signing import sign
from hansang.models.versions.checks import Check, Examination, Served
from hansang.models.versions.opened import open_uri
from hansang.settings import Settings
from tests.models.keys import make_keys
from tests.models.steps import STEP, write

GOLDEN = [{"input": {"x": 2.0}, "output": {"y": 2.0 + STEP}}]


def examine(folder: Path, *served: Served, settings: Settings | None = None) -> dict[str, Check]:
    model = Model(str(folder))
    examination = Examination(open_uri(str(folder)), model, settings or Settings(), served)
    found = {check.name: check for check in examination.checks()}
    assert examination.loaded == []
    return found


def serves(folder: Path, closed: bool = True) -> Served:
    model = Model(str(folder))
    loaded = model.load(Settings())
    model.unload()
    return Served("before", loaded.runtime.signature, loaded.artifact, closed)


def test_a_good_version_passes_every_check(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 1, golden=GOLDEN)
    secret, public = make_keys(tmp_path)
    sign(folder, secret)
    found = examine(folder, serves(write(tmp_path / "b", 2)), settings=Settings(signers=(public,)))
    assert {name: check.passed for name, check in found.items()} == dict.fromkeys(
        ["manifest", "signature", "load", "input example", "golden requests", "compatible with before"], True
    )
    assert found["manifest"].said == "4 files as named"
    assert found["signature"].said.endswith("key.pub")
    assert found["golden requests"].said == "1 answered as expected"


def test_what_a_version_does_not_have_is_no_fault(tmp_path: Path) -> None:
    found = examine(write(tmp_path / "a", 1))
    assert [found[name].passed for name in ("manifest", "signature", "golden requests")] == [None] * 3
    assert found["input example"].passed and found["load"].said == "by onnx"


def test_files_that_are_not_those_of_the_manifest_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 1, manifest=True)
    (folder / "model.onnx").write_bytes(b"other")
    found = examine(folder)
    assert list(found) == ["manifest"] and found["manifest"].passed is False
    assert "model.onnx is not the file that the manifest names" in found["manifest"].said


def test_a_signature_on_another_manifest_fails_and_one_of_a_stranger_counts_for_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 1)
    secret, _ = make_keys(tmp_path)
    _, other = make_keys(tmp_path, "other")
    name = sign(folder, secret)
    stranger = examine(folder, settings=Settings(signers=(other,)))["signature"]
    assert (stranger.passed, stranger.said) == (None, f"by {name}, which is not a known key")
    (folder / "more").write_text("more")
    write_manifest(folder)
    assert examine(folder)["signature"].passed is False


def test_a_golden_request_that_is_answered_otherwise_fails_alone(tmp_path: Path) -> None:
    found = examine(write(tmp_path / "a", 2, golden=GOLDEN))
    assert found["golden requests"].passed is False
    assert "y: expected 1002.0, got 2002" in found["golden requests"].said
    assert found["input example"].passed


def test_files_that_hold_no_model_fail_at_load(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 1)
    (folder / "model.onnx").write_bytes(b"no model")
    found = examine(folder)
    assert list(found)[-1] == "load" and found["load"].passed is False


def test_a_version_that_breaks_clients_says_how(tmp_path: Path) -> None:
    before = serves(write(tmp_path / "before", 1))
    found = examine(write(tmp_path / "output", 1, output="z"), before)["compatible with before"]
    assert found.passed is False and "it does not give the output 'y'" in found.said
    assert before.signature is not None
    two = replace(before.signature, inputs=(*before.signature.inputs, Column("more", Scalar("double"))))
    fewer = examine(write(tmp_path / "fewer", 1), replace(before, signature=two))["compatible with before"]
    assert fewer.passed is False and "does not take the input 'more'" in fewer.said


def test_a_pickle_passes_by_trust_or_by_a_known_signature(model: Callable[[str], Artifact], tmp_path: Path) -> None:
    folder = shutil.copytree(model("pickled/1").path, tmp_path / "pickled")
    secret, public = make_keys(tmp_path)
    assert "can run any code" in examine(folder)["load"].said
    assert examine(folder, settings=Settings(trust=(str(folder),)))["load"].passed
    sign(folder, secret)
    assert examine(folder)["load"].passed is False
    assert examine(folder, settings=Settings(signers=(public,)))["load"].passed
