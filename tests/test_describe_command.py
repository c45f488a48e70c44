"""`hansang describe` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.served.running import HANSANG, environment

SERVICE = """
from pydantic import BaseModel

from hansang import Service, node


class Row(BaseModel):
    x: int


@node.each
def double(row: Row) -> dict[str, int]:
    return {"x": row.x * 2}


@node.each
def wrong(row: str) -> str:
    return row


service = Service("doubles", double, input=Row)
service.endpoint("/again", double, input=Row)
bad = Service("bad", double >> wrong, input=Row)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE, "utf-8")
    return tmp_path


def describe(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(HANSANG), "describe", *arguments]
    env = environment() | {"COLUMNS": "120", "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False, timeout=30)


def test_it_prints_the_graphs_for_people_and_one_object_for_programs(folder: Path) -> None:
    done = describe(folder, "service.py")
    assert done.returncode == 0, done.stderr
    assert "POST /predict" in done.stdout and "├── function double  row by row" in done.stdout
    document = json.loads(describe(folder, "service.py", "--json").stdout)
    assert document["name"] == "doubles" and [each["path"] for each in document["endpoints"]] == ["/predict", "/again"]
    assert document["endpoints"][0]["joints"][0]["checked"] is True
    assert document["endpoints"][0]["graph"]["label"] == "double"


def test_it_shows_one_endpoint_when_asked(folder: Path) -> None:
    done = describe(folder, "service.py", "--endpoint", "/again")
    assert "POST /again" in done.stdout and "POST /predict" not in done.stdout
    unknown = describe(folder, "service.py", "--endpoint", "/never")
    assert unknown.returncode == 2
    assert unknown.stderr == "error: service 'doubles' has no endpoint '/never'; it has: /predict, /again\n"


def test_it_writes_an_svg(folder: Path) -> None:
    assert describe(folder, "service.py", "-o", "graph.svg").returncode == 0
    assert ElementTree.parse(folder / "graph.svg").getroot().tag.endswith("svg")
    missing = describe(folder, "service.py", "--svg", "no/such/folder.svg")
    assert missing.returncode == 2 and "cannot write no/such/folder.svg: No such file or directory" in missing.stderr


def test_a_joint_that_cannot_fit_is_a_usage_error(folder: Path) -> None:
    done = describe(folder, "service.py:bad")
    assert done.returncode == 2
    assert done.stderr == (
        "error: endpoint /predict: the function 'wrong' takes text, the function 'double' gives dict of integer; "
        "change one of the two, or put a node between them\n"
    )


def test_a_row_to_explain_that_is_none_is_a_usage_error(folder: Path) -> None:
    pytest.importorskip("hansang.nodes.explain")
    one = ("service.py", "--endpoint", "/predict")
    for row, text in (
        ("{", "the row of --explain: the body is not JSON: EOF"),
        ('{"x": "no"}', "the row of --explain: x: Input should be a valid integer"),
        ("{}", "the row of --explain: x: Field required"),
    ):
        done = describe(folder, *one, "--explain", row)
        assert done.returncode == 2 and text in done.stderr, done.stderr
    several = describe(folder, "service.py", "--explain", '{"x": 1}')
    assert (
        several.returncode == 2
        and "say with --endpoint which graph is to be explained: /predict, /again" in several.stderr
    )
    header = describe(folder, *one, "--explain", '{"x": 1}', "--header", "x-user")
    assert header.returncode == 2 and "--header 'x-user': expected 'name: value'" in header.stderr
    both = describe(folder, *one, "--explain", '{"x": 1}', "--svg", "a.svg")
    assert both.returncode == 2 and "give one of them" in both.stderr


SWITCHED = """
from hansang import Service, node, switch


@node.each
def short(row: dict) -> str:
    return "short"


@node.each
def long(row: dict) -> str:
    return "long"


service = Service("texts", switch("kind", {"a": short}, default=long), input=dict[str, str])
"""


def test_it_says_which_side_a_row_takes_and_why(folder: Path) -> None:
    pytest.importorskip("hansang.nodes.explain")
    (folder / "texts.py").write_text(SWITCHED, "utf-8")
    done = describe(folder, "texts.py", "--explain", '{"kind": "a"}')
    assert done.returncode == 0 and done.stdout.startswith("switch switch: a -> short\n"), done.stderr
    document = json.loads(describe(folder, "texts.py", "--explain", '{"kind": "b"}', "--json").stdout)
    assert document["decisions"][0]["variant"] == "default" and document["decisions"][0]["side"] == "long"
