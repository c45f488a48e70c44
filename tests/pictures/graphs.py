"""Services whose graphs are drawn: a chain, members, sides, nested patterns, several endpoints with odd names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from hansang import Batch, Model, Node, Service, node
from hansang.dispatch import Dispatcher


@dataclass(frozen=True, slots=True, eq=False)
class Parallel(Node):
    members: Mapping[str, Node]
    timeout: float | None = None
    quorum: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cached(Dispatcher):
    node: Node
    ttl: float | None = None
    store: str = "memory"


@dataclass(frozen=True, slots=True, eq=False)
class Split(Dispatcher):
    sides: Mapping[str, Node]
    weights: Mapping[str, float]
    by: str = "key"


@dataclass(frozen=True, slots=True, eq=False)
class Switch(Dispatcher):
    rule: Callable[..., Any] | Mapping[str, str]
    sides: Mapping[str, Node]
    default: Node | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fallback(Dispatcher):
    sides: tuple[Node, ...]
    timeout: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Shadow(Dispatcher):
    live: Node
    candidate: Node
    share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Remote(Node):
    url: str
    name: str = ""


class Photo(BaseModel):
    """A photo."""

    image: str
    note: str = ""
    size: int = Field(ge=1, le=100)


class Face(BaseModel):
    """What is seen."""

    age: int = Field(ge=0, le=120)
    gender: Literal["female", "male"]


@node.each
def crop(row: Photo) -> dict[str, float]:
    return {"size": row.size / 100}


@node.each
def summarize(row: dict[str, Any]) -> Face:
    return Face(age=3, gender="male")


@node
def tokens(batch: Batch) -> list[Any]:
    return batch.rows


def model(name: str) -> Model:
    def predict(batch: Batch) -> list[Any]:
        return batch.rows

    return Model(predict, name=name)


def chain() -> Service:
    return Service("mood", crop >> model("mood") >> summarize, input=Photo, output=Face)


def faces() -> Service:
    heads = Parallel({"age": model("age"), "gender": model("gender")}, timeout=0.2, quorum=1)
    about: dict[str, Any] = {"owner": "vision team", "version": "1.2.0", "description": "Age and gender."}
    return Service("faces", crop >> heads >> summarize, input=Photo, output=Face, deadline=0.5, **about)


def ranking() -> Service:
    split = Split({"old": model("ranker-2024"), "new": model("ranker-2025")}, {"old": 90, "new": 10})
    return Service("ranking", Cached(split, 3600, "redis://user:secret@cache:6379/0"), input=Photo)


def nested() -> Service:
    korean = Shadow(model("minilm-ko"), model("minilm-ko-int8"), share=0.1)
    english = tokens >> Fallback((Remote("http://gpu-1:8000/embed", "embedder"), model("small")), timeout=0.15)
    both = Parallel({"positive": model("p"), "부정": model("감정-분석-모델")})
    rest = Split({"both": both, "one": model("one")}, {"both": 1, "one": 1})
    long = "language.startswith('zh-Hant') and length > 20"
    rules = {"ko": "language == 'ko'", "en": "language == 'en'", "long": long}
    switch = Switch(rules, {"ko": korean, "en": english, "long": rest}, default=model("default"))
    return Service("assistant", tokens >> Cached(switch, ttl=90) >> summarize, input=Photo, output=Face)


def odd() -> Service:
    service = Service('<two> & "more"')
    service.endpoint("/a<b>&'c'", node(lambda batch: batch), input=dict[str, float])
    service.endpoint("/quick", tokens, input=Photo, deadline=2)
    return service


ALL = (chain, faces, ranking, nested, odd)
