"""The pictures in the pages are those that the code draws, and every pattern has one."""

import pytest

from hansang import Node
from hansang.outline import WAYS
from tests.docs import pictures
from tests.docs.pages import DOCS
from tests.shape.tree import modules


@pytest.mark.parametrize("name", pictures.GRAPHS)
def test_the_picture_of_a_pattern_is_the_one_that_the_code_draws(name: str) -> None:
    made = pictures.drawn(name)
    if made is None:
        pytest.skip(f"hansang.{name} is not there yet")
    kept = (pictures.FOLDER / f"{name}.svg").read_text("utf-8")
    assert kept == made, "run: python -m tests.docs.pictures"


def test_every_pattern_of_the_overview_has_its_picture() -> None:
    page = (DOCS / "patterns" / "index.md").read_text("utf-8")
    for name in pictures.GRAPHS:
        assert f"../assets/patterns/{name}.svg" in page
        assert (pictures.FOLDER / f"{name}.svg").is_file()


def test_how_rows_go_through_a_node_is_known_of_every_node_of_the_package() -> None:
    for module in modules():
        if module.room == "nodes":
            __import__(module.name)
    todo, seen = [Node], set()
    while todo:
        for kind in todo.pop().__subclasses__():
            todo.append(kind)
            if kind.__module__.startswith("hansang.nodes."):
                seen.add(kind.__name__)
                assert kind.__name__ in WAYS or hasattr(kind, "outline"), f"{kind}: add it to WAYS of outline.py"
    assert {"Parallel", "Fallback", "Constant"} <= seen
