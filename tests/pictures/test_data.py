"""The graphs, schemas and joints of a service as plain data, and in words."""

from __future__ import annotations

import datetime
import io
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from rich.console import Console

from hansang import Node, Service
from hansang.outline import Side, duration, outline, percent
from hansang.pictures.data import graph_data, schema_data, service_data
from hansang.pictures.text import sentence, show
from hansang.types import Image
from tests.pictures import graphs


def shown(service: Service) -> str:
    service.load()
    out = io.StringIO()
    show(service_data(service), Console(file=out, width=120, highlight=False))
    service.unload()
    return out.getvalue()


def test_a_service_is_shown_as_a_tree_with_what_is_set() -> None:
    text = shown(graphs.faces())
    assert text == (
        "faces  version 1.2.0 · owner vision team\n"
        "Age and gender.\n"
        "\n"
        "POST /predict  deadline 500 ms\n"
        "├── in  Photo  image: text; note: text, optional; size: integer, 1 to 100\n"
        "├── function crop  row by row\n"
        "├── parallel  timeout 200 ms · quorum 1\n"
        "│   ├── age  model age  function\n"
        "│   └── gender  model gender  function\n"
        "├── function summarize  row by row\n"
        "└── out  Face  age: integer, 0 to 120; gender: 'female' or 'male'\n"
        "joints\n"
        "✓ input schema Photo → function 'crop'  Photo\n"
        "? function 'crop' → model 'age'  dict of number → not said\n"
        "? function 'crop' → model 'gender'  dict of number → not said\n"
        "✓ parallel → function 'summarize'  {age, gender} → dict\n"
        "✓ function 'summarize' → output schema Face  Face\n"
    )


def test_nested_patterns_stand_below_what_they_are_in() -> None:
    text = shown(graphs.nested())
    for line in (
        "├── cached  ttl 90 s",
        "│   └── switch",
        "│       ├── ko language == 'ko'  shadow  share 10 %",
        "│       │   └── aside candidate  model minilm-ko-int8  function",
        "│       │   └── fallback  timeout 150 ms",
        "│       │       ├── first  remote embedder  at http://gpu-1:8000/embed",
        "│       └── default  model default  function",
    ):
        assert f"\n{line}\n" in text


def test_a_graph_is_told_in_a_sentence() -> None:
    assert sentence(graphs.ranking().endpoints[0].graph) == (
        "cached (node: split (old 90 %: model ranker-2024; new 10 %: model ranker-2025))"
    )


def test_the_data_of_a_graph_names_every_side_and_how_it_is_taken() -> None:
    graph = graph_data(graphs.Shadow(graphs.model("a"), graphs.model("b"), share=0.5))
    assert graph == {
        "kind": "one",
        "node": "shadow",
        "label": "",
        "notes": ["share 50 %"],
        "sides": [
            {
                "name": "live",
                "note": "",
                "aside": False,
                "graph": {"kind": "leaf", "node": "model", "label": "a", "notes": []},
            },
            {
                "name": "candidate",
                "note": "",
                "aside": True,
                "graph": {"kind": "leaf", "node": "model", "label": "b", "notes": []},
            },
        ],
    }


@dataclass(frozen=True, slots=True, eq=False)
class Own(Node):
    first: Node
    words: str = ""
    limit: float = 3.0

    def outline(self) -> Any:
        return type(outline(self.first))("chain", "twice", "", sides=(Side(self.first), Side(self.first)))


def test_a_node_can_say_itself_how_it_is_put_together() -> None:
    assert sentence(Own(graphs.tokens)) == "function tokens, then function tokens"


class Inner(BaseModel):
    """Inside."""

    x: float


class Everything(BaseModel):
    """Fields of many kinds."""

    text: str = Field(min_length=1, max_length=9, pattern="^a")
    kind: Literal["a", 1]
    one: Literal["only"]
    many: list[float] = Field(min_length=2)
    inner: Inner
    when: datetime.datetime
    either: int | str | None = None
    above: float = Field(gt=0, lt=1)
    anything: Any
    picture: Image


def test_fields_are_told_in_a_few_words() -> None:
    assert schema_data(Everything, "validation") == {
        "name": "Everything",
        "fields": {
            "text": "text, length ≥ 1, length ≤ 9, like ^a",
            "kind": "'a' or 1",
            "one": "'only'",
            "many": "list of number, items ≥ 2",
            "inner": "Inner",
            "when": "date-time",
            "either": "integer or text or null, optional",
            "above": "number, > 0, < 1",
            "anything": "anything",
            "picture": "file",
        },
    }


def test_a_schema_with_any_fields_says_what_they_hold() -> None:
    assert schema_data(dict[str, float], "validation") == {"name": "dict of number", "fields": {"…": "number"}}
    assert schema_data(None, "validation") is None and schema_data(Any, "validation") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (0.05, "50 ms"), (1.5, "1.5 s"), (90, "90 s"), (120, "2 min"), (7200, "2 h"), (86400, "1 d")],
)
def test_times_are_told_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_shares_are_told_in_percent() -> None:
    assert [percent(share) for share in (0.1, 0.125, 1.0)] == ["10 %", "12.5 %", "100 %"]
