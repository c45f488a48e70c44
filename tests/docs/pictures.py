"""The pictures of the patterns; `python -m tests.docs.pictures` draws them into `docs/assets/patterns`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hansang
from hansang import Batch, Model, Node, node
from hansang.pictures.svg import graph_svg
from tests.docs.pages import DOCS

FOLDER = DOCS / "assets" / "patterns"


def model(name: str) -> Model:
    def predict(batch: Batch) -> list[Any]:
        return batch.rows

    return Model(predict, name=name)


@node.each
def clean(row: dict[str, Any]) -> dict[str, Any]:
    return row


@node.each
def summarize(row: dict[str, Any]) -> dict[str, Any]:
    return row


def pattern(name: str) -> Callable[..., Node]:
    """Give a public function of the package."""
    made: Callable[..., Node] = getattr(hansang, name)
    return made


GRAPHS: dict[str, Callable[[], Node]] = {
    "chain": lambda: clean >> model("mood") >> summarize,
    "parallel": lambda: pattern("parallel")(age=model("age"), gender=model("gender"), timeout=0.2, quorum=1),
    "cached": lambda: pattern("cached")(model("ranker"), ttl=3600),
    "switch": lambda: pattern("switch")("language", {"ko": model("korean"), "en": model("english")}, default=clean),
    "split": lambda: pattern("split")({model("old"): 90, model("new"): 10}, by="user_id"),
    "shadow": lambda: pattern("shadow")(model("live"), model("candidate"), share=0.1),
    "fallback": lambda: pattern("fallback")(model("heavy"), model("light"), {"label": "unknown"}, timeout=0.5),
    "staged": lambda: pattern("staged")(model("quick"), model("slow")),
    "remote": lambda: clean >> pattern("remote")("http://10.0.0.2:8000/nodes/embedder", name="embedder"),
}


def drawn(name: str) -> str | None:
    """Draw a pattern; `None` where the package has none of this name."""
    if name != "chain" and not hasattr(hansang, name):
        return None
    return graph_svg(GRAPHS[name](), f"The pattern {name}")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in GRAPHS:
        text = drawn(name)
        if text is not None:
            (FOLDER / f"{name}.svg").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
