from __future__ import annotations

import inspect
import json
import re

import pytest

from hansang import errors
from hansang.errors import (
    HansangError,
    InvalidRow,
    MissingExtra,
    ModelFailed,
    Overloaded,
    Problem,
    WrongRows,
    problem,
    problem_body,
    status_of,
    title,
)
from hansang.extras import require

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, HansangError) and kind.__module__ == errors.__name__
}
PROBLEMS = [kind for kind in CLASSES.values() if issubclass(kind, Problem)]
LINE = re.compile(r"^(?P<bars>[│├└─ ]*)(?P<name>[A-Z]\w+) *(?P<status>\d{3})?")


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Read the tree at the top of the file: each class's parent and status."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").split("\n\n")[1].splitlines():
        match = LINE.match(line)
        assert match is not None, line
        depth = len(match["bars"]) // 4
        above[depth:] = [match["name"]]
        tree[match["name"]] = (above[depth - 1] if depth else None, int(match["status"]) if match["status"] else None)
    return tree


def test_the_tree_drawn_at_the_top_is_the_real_one() -> None:
    tree = drawn()
    assert tree.keys() == CLASSES.keys()
    for name, (parent, status) in tree.items():
        kind = CLASSES[name]
        assert kind.__base__ is (CLASSES[parent] if parent else Exception), name
        if name != "Problem" and issubclass(kind, Problem):
            assert kind.status == status, name
        else:
            assert status is None


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.__name__)
def test_every_problem_is_a_document_with_all_its_members(kind: type[Problem]) -> None:
    document = problem(kind("what happened"), "r-1")
    assert list(document) == ["type", "title", "status", "detail", "request_id"]
    assert document["status"] == kind.status == status_of(kind()) and document["request_id"] == "r-1"
    assert document["title"] not in ("", "Error") and document["type"] == "about:blank"
    assert (document["detail"] == "what happened") == kind.public


@pytest.mark.parametrize(
    "error", [ModelFailed("secret"), WrongRows("secret"), ValueError("secret"), KeyboardInterrupt("secret")]
)
def test_a_private_text_never_leaves(error: BaseException) -> None:
    body = problem_body(error, "r-1")
    assert b"secret" not in body
    document = json.loads(body)
    assert document["status"] == 500
    assert document["detail"] == "the model failed; the log has the cause under this request_id"


def test_the_faults_of_a_row_begin_with_its_number() -> None:
    faults = [{"loc": ("x", 1), "type": "float_type", "msg": "no"}]
    error = InvalidRow("does not fit", errors=faults)
    assert problem(error, "r")["errors"] == faults
    assert problem(error, "r", row=3)["errors"] == [{"loc": [3, "x", 1], "type": "float_type", "msg": "no"}]
    assert error.errors == faults  # the error itself is not changed


def test_the_users_own_problem_is_told_in_its_words() -> None:
    class SoldOut(Problem):
        status = 409
        title = "Sold out"
        type = "https://example.com/sold-out"

    assert problem(SoldOut("no bikes left"), "r") == {
        "type": "https://example.com/sold-out",
        "title": "Sold out",
        "status": 409,
        "detail": "no bikes left",
        "request_id": "r",
    }


def test_a_problem_brings_its_headers_and_its_patience() -> None:
    error = Overloaded("full", retry_after=3.5, headers={"x-queue": "9"})
    assert error.retry_after == 3.5 and error.headers == {"x-queue": "9"} and str(error) == "full"
    assert Overloaded().headers == {}


def test_a_status_that_http_does_not_know_has_a_title_too() -> None:
    assert title(599) == "Error" and title(404) == "Not Found"


def test_a_missing_package_is_named_with_the_install_command() -> None:
    with pytest.raises(
        MissingExtra, match=r"the BigQuery sink needs the package 'no_such_thing': pip install \"hansang\[bq\]\""
    ):
        require("no_such_thing", "bq", "the BigQuery sink")
    with pytest.raises(MissingExtra, match=r'pip install "hansang"'):
        require("no_such_thing", "")
