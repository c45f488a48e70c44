from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansang import Service
from hansang.errors import UsageError
from hansang.target import load_target

SERVICE = """
from hansang import Service
service = Service("digits", len)
other = Service("other", len)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty project, and forget the modules that a test imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("models:/bikes@champion", "bikes"),
        ("models:/bikes/3", "bikes"),
        ("models:/bikes", "bikes"),
        ("runs:/0123abc/model", "0123abc"),
    ],
)
def test_a_registered_model_is_a_service_of_its_name(target: str, name: str) -> None:
    service = load_target(target)
    assert service.name == name and service.models[0].source == target
    assert [endpoint.path for endpoint in service.endpoints] == ["/predict"]


def test_a_file_or_folder_of_a_model_is_a_service_of_its_name(project: Path) -> None:
    (project / "digits.onnx").write_bytes(b"")
    (project / "faces").mkdir()
    assert load_target("digits.onnx").name == "digits"
    assert load_target("faces").name == load_target("faces/../faces/.").name == "faces"
    assert load_target(str(project / "digits.onnx")).models[0].source == str(project / "digits.onnx")


def test_a_python_file_gives_its_service_or_the_named_one(project: Path) -> None:
    (project / "app.py").write_text(SERVICE)
    assert load_target("app.py").name == "digits"
    assert load_target("app.py:other").name == "other"
    assert load_target(str(project / "app.py")).name == "digits"


def test_a_module_of_the_working_folder_gives_its_service(project: Path) -> None:
    (project / "shop").mkdir()
    (project / "shop" / "api.py").write_text(SERVICE)
    (project / "plain.py").write_text(SERVICE)
    assert load_target("shop.api:other").name == "other"
    assert load_target("shop.api").name == "digits"
    assert load_target("plain").name == "digits"


def test_a_file_imports_its_neighbours(project: Path) -> None:
    folder = project / "deep"
    folder.mkdir()
    (folder / "neighbour_of_app.py").write_text("NAME = 'near'")
    (folder / "app.py").write_text(
        "from hansang import Service\nimport neighbour_of_app as n\nmine = Service(n.NAME, len)"
    )
    assert load_target("deep/app.py").name == "near"


def test_a_file_called_like_a_module_in_use_does_not_take_its_place(project: Path) -> None:
    import json

    (project / "json.py").write_text(SERVICE)
    assert load_target("json.py").name == "digits"
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("", "app.py", r"app.py has no Service; write `service = Service\(…\)` in it"),
        (SERVICE, "app.py:nope", "app.py:nope: no service 'nope'; the module has: service, other"),
        (
            SERVICE.replace("service =", "first ="),
            "app.py",
            "app.py has several services; name one: app.py:first, app.py:other",
        ),
        ("1 / 0", "app.py", "app.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "app.py", "app.py cannot be loaded: SystemExit: 3"),
        ("def", "app.py", "app.py cannot be loaded: SyntaxError"),
        ("1 / 0", "app:service", "app:service: the module 'app' cannot be imported: division by zero"),
        ("", "other.py", "no file other.py"),
        (
            "",
            "nothing_of_this_name",
            "no target 'nothing_of_this_name': give models:/name@alias, a model's file or folder",
        ),
        ("", "nothing.of.this:name", "nothing.of.this:name: the module 'nothing.of.this' cannot be imported"),
        ("", "..:x", r"\.\.:x: \.\. is a model, which has no 'x'; only Python files and modules have"),
        ("", "...:x", "no target '...:x'"),
        ("", ".hidden", "no target '.hidden'"),
        ("", "", "no target ''"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(project: Path, source: str, target: str, text: str) -> None:
    (project / "app.py").write_text(source)
    with pytest.raises(UsageError, match=text):
        load_target(target)


def test_an_error_of_hansang_in_a_file_is_told_as_it_is(project: Path) -> None:
    (project / "app.py").write_text("from hansang import Service\nService('x', input=int)")
    with pytest.raises(UsageError, match="^service 'x' has schemas but no graph"):
        load_target("app.py")


def test_a_service_under_two_names_is_one(project: Path) -> None:
    (project / "app.py").write_text("from hansang import Service\nalias = mine = Service('one', len)")
    assert isinstance(load_target("app.py"), Service)


MODELS = """
from hansang import Model, Service, parallel

ages = Model("models:/ages@champion", max_batch=7, trust=True)
service = Service("faces", parallel(age=ages, gender=Model("models:/genders", name="who")))
service.endpoint("/age", ages)
"""


def test_another_version_takes_the_place_of_the_model_of_its_name(project: Path) -> None:
    (project / "service.py").write_text(MODELS)
    service = load_target("service.py", "models:/ages/8")
    assert [model.source for model in service.models] == ["models:/ages/8", "models:/genders"]
    assert service.models[0].max_batch == 7
    assert service.models[0].trust
    assert service.endpoints[1].models == [service.models[0]]


def test_a_node_is_named_where_the_model_has_another_name(project: Path) -> None:
    (project / "service.py").write_text(MODELS)
    service = load_target("service.py", "age=models:/years/2")
    assert [model.source for model in service.models] == ["models:/years/2", "models:/genders"]
    assert not service.models[0].trust  # that was given to another model
    with pytest.raises(
        UsageError, match=r"not clear which model 'models:/years/2' .* NAME=models:/years/2 .*: ages, who"
    ):
        load_target("service.py", "models:/years/2")
    with pytest.raises(UsageError, match="no node 'agee'"):
        load_target("service.py", "agee=models:/years/2")
