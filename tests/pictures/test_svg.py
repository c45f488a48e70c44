"""The picture is exact: nothing overlaps, every line meets what it joins, and everything is said in text too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansang import Node, Service
from hansang.graph import chain
from hansang.pictures.layout import NOTE, Block, Box, Frame, Row, block_of, over, shortened, text_width, top_of
from hansang.pictures.svg import service_svg
from tests.pictures import graphs

SVG = "{http://www.w3.org/2000/svg}"

Place = tuple[float, float, Block]


@pytest.fixture(params=graphs.ALL, ids=lambda make: make.__name__)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    made: Callable[[], Service] = request.param
    service = made()
    service.load()
    yield service
    service.unload()


def placed(block: Block, x: float = 0.0, y: float = 0.0) -> Iterator[Place]:
    """Give every block with where it stands, as the drawing puts them."""
    yield x, y, block
    match block:
        case Row():
            for inner in block.blocks:
                yield from placed(inner, x, y + block.port - inner.port)
                x += inner.width + 30.0
        case Frame():
            for top, branch in zip(top_of(block.branches), block.branches, strict=True):
                yield from placed(branch.block, x + block.inset, y + 30.0 + top)


def apart(one: Place, other: Place) -> bool:
    (ax, ay, a), (bx, by, b) = one, other
    return ax + a.width <= bx or bx + b.width <= ax or ay + a.height <= by or by + b.height <= ay


def inside(one: Place, other: Place) -> bool:
    (ax, ay, a), (bx, by, b) = one, other
    return ax >= bx and ay >= by and ax + a.width <= bx + b.width + 1e-6 and ay + a.height <= by + b.height + 1e-6


def check_layout(node: Node) -> None:
    blocks = list(placed(block_of(node)))
    boxes = [place for place in blocks if isinstance(place[2], Box)]
    frames = [place for place in blocks if isinstance(place[2], Frame)]
    for number, box in enumerate(boxes):
        assert all(apart(box, other) for other in boxes[:number])
        assert inside(box, blocks[0])
    for frame in frames:
        assert inside(frame, blocks[0])
        assert all(apart(frame, other) or inside(other, frame) or inside(frame, other) for other in frames)
        assert all(apart(box, frame) or inside(box, frame) for box in boxes)
        inner = frame[2]
        assert isinstance(inner, Frame)
        assert 0 < inner.port < inner.height
        for branch in inner.branches:
            assert not over(branch) or 36 + text_width(over(branch), NOTE) < inner.inset, "a label has room for itself"
    for _, _, row in blocks:
        if isinstance(row, Row):
            assert all(0 <= inner.port <= inner.height for inner in row.blocks)


names = st.text(min_size=1, max_size=60)


def any_graph() -> st.SearchStrategy[Node]:
    leaf = names.map(graphs.model) | names.map(lambda name: graphs.Remote("http://here", name))

    def larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, min_size=1, max_size=4)
        return (
            some.map(lambda nodes: chain(*nodes))
            | st.dictionaries(names, inner, min_size=1, max_size=4).map(graphs.Parallel)
            | st.tuples(inner, names).map(lambda pair: graphs.Cached(pair[0], 90.0, pair[1]))
            | some.map(lambda nodes: graphs.Fallback(tuple(nodes)))
            | st.tuples(inner, inner).map(lambda pair: graphs.Shadow(*pair))
            | some.map(
                lambda nodes: graphs.Split(
                    {str(n): each for n, each in enumerate(nodes)}, {str(n): 1.0 for n in range(len(nodes))}
                )
            )
        )

    return st.recursive(leaf, larger, max_leaves=12)


@given(any_graph())
@settings(deadline=None)
def test_nothing_overlaps_in_the_picture_of_any_graph(graph: Node) -> None:
    check_layout(graph)
    service = Service("any", graph, input=dict[str, int])
    ElementTree.fromstring(service_svg(service))


def test_nothing_overlaps_in_these_pictures(service: Service) -> None:
    for endpoint in service.endpoints:
        check_layout(endpoint.graph)


def test_a_picture_is_an_svg_that_names_and_describes_itself(service: Service) -> None:
    root = ElementTree.fromstring(service_svg(service))
    title, told = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and title.text is not None and title.text.startswith(f"{service.name}: the graph of /")
    assert told is not None and told.text
    for model in service.models:
        assert f"model {model.loaded.name}" in told.text
    assert root.get("role") == "img" and root.get("viewBox", "").startswith("0 0 ")


def test_a_picture_holds_no_script_and_fetches_nothing(service: Service) -> None:
    text = service_svg(service)
    assert "<script" not in text and "href" not in text and not re.search(r"https?://(?!www\.w3\.org|gpu-1)", text)


def test_all_lines_end_within_the_picture(service: Service) -> None:
    root = ElementTree.fromstring(service_svg(service))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    paths = [path.get("d", "") for path in root.findall(f"{SVG}path")]
    assert paths
    for way in paths:
        start = re.match(r"M([\d.]+) ([\d.]+)", way)
        assert start is not None
        assert 0 <= float(start[1]) <= width and 0 <= float(start[2]) <= height
        assert all(0 <= float(x) <= width for x in re.findall(r"H([\d.]+)", way))
        assert all(0 <= float(y) <= height for y in re.findall(r"V([\d.]+)", way))


def test_both_colour_schemes_define_the_same_colours(service: Service) -> None:
    light, dark = service_svg(service).split("@media (prefers-color-scheme:dark)")
    colours = set(re.findall(r"(--\w+):", light))
    assert colours and set(re.findall(r"(--\w+):", dark.split("}}")[0])) == colours
    assert set(re.findall(r"var\((--\w+)\)", dark)) <= colours


def test_what_is_set_stands_in_the_picture_but_no_password() -> None:
    service = graphs.ranking()
    text = service_svg(service)
    assert "ttl 1 h" in text and "90 %" in text and "redis://…@cache:6379/0" in text
    assert "secret" not in text


def test_a_candidate_is_dashed_and_a_remote_node_tells_its_place() -> None:
    text = service_svg(graphs.nested())
    assert text.count('class="line aside"') >= 2
    assert "at http://gpu-1:8000/embed" in text
    assert (
        "<title>language.startswith(&#x27;zh-Hant&#x27;) and length &gt; 20</title>" in text
        and "language == &#x27;ko&#x27;" in text
    )


def test_names_that_look_like_markup_are_text() -> None:
    text = service_svg(graphs.odd())
    assert "POST /a&lt;b&gt;&amp;&#x27;c&#x27;" in text and "<b>" not in text


def test_conditions_that_are_their_own_names_stand_there_once() -> None:
    switch = graphs.Switch({"x > 1": "x > 1"}, {"x > 1": graphs.model("a")}, default=graphs.model("b"))
    text = service_svg(Service("once", switch, input=dict[str, int]))
    assert text.count(">x &gt; 1<") == 1


def test_one_endpoint_can_be_drawn_alone() -> None:
    service = graphs.odd()
    text = service_svg(service, service.find("/quick"))
    assert "POST /quick" in text and "/a&lt;" not in text


@pytest.mark.parametrize(
    ("text", "short"),
    [("short", "short"), ("a  b\n c", "a b c"), ("x" * 40, "x" * 23 + "…" + "x" * 12)],
)
def test_a_long_name_keeps_both_its_ends(text: str, short: str) -> None:
    assert shortened(text) == short and len(short) <= 36


def test_wide_characters_have_room() -> None:
    assert text_width("감정", 10.0) == text_width("abcd", 10.0)


def test_a_file_of_the_picture_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "graph.svg"
    path.write_text(service_svg(graphs.nested()), "utf-8")
    assert "감정-분석-모델" in "".join(ElementTree.parse(path).getroot().itertext())
