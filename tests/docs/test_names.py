"""The pages name everything that there is, and nothing that there is not; the code says what there is."""

import asyncio
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import hansang
from hansang import Model, Service
from hansang.errors import Problem
from hansang.models.artifact import BARE
from hansang.models.runtime import LOADERS
from hansang.models.signature import SCALARS
from hansang.logs.config import DEFAULT, read
from hansang.record.read import connect
from hansang.record.table import SCHEMA
from hansang.service import Endpoint
from hansang.settings import Settings
from hansang.types import ImageLimits
from tests.docs import tables
from tests.docs.pages import DOCS, ROOT, blocks, pages

METRIC = re.compile(r"\b(counter|gauge|histogram)\(\s*\"(hansang_\w+)\"")
OTHER_COMMANDS = {
    *("--json", "--data-binary", "--reload", "--port", "--host", "--strict"),
    *("--env-manager", "--experiment-name"),  # mlflow
}


def text(*names: str) -> str:
    paths = [DOCS / name for name in names] or pages()
    return "\n".join(path.read_text("utf-8") for path in paths)


def column(page: str, heading: str, number: int = 0) -> list[str]:
    """Give the code words in one column of the table under a heading."""
    section = text(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row[number])]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.chdir(tmp_path)
    return Service("s", Model(lambda batch: batch.rows, name="m"), input=dict[str, int], example={"n": 1})


@pytest.mark.parametrize("name", tables.TABLES)
def test_tables_made_from_the_code_are_up_to_date(name: str) -> None:
    path, make = tables.TABLES[name]
    made = tables.marked(name, make())
    assert made in path.read_text("utf-8"), f"run: python -m tests.docs.tables\n\n{made}"


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    known = {f"HANSANG_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bHANSANG_[A-Z_]*[A-Z]\b", text())) - known == set()


def test_no_page_names_a_command_or_option_that_does_not_exist() -> None:
    commands = {name for name, _ in tables.commands()}
    options = {name for _, command in tables.commands() for p in command.params for name in tables.option_names(p)}
    for path in pages():
        shell = "\n".join(block.body for block in blocks(path) if block.kind == "sh")
        inline = "\n".join(re.findall(r"`([^`\n]+)`", path.read_text("utf-8")))
        for words in re.findall(r"\bhansang ((?:[a-z]+ ?){1,2})", shell + "\n" + inline):
            first, _, second = words.strip().partition(" ")
            found = f"hansang {first}" in commands or f"hansang {first} {second}" in commands
            assert found or any(c.startswith(f"hansang {first} ") for c in commands), f"{path.name}: hansang {words}"
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shell + "\n" + inline))
        assert used - options - OTHER_COMMANDS - {"--version", "--help"} == set(), path.name


def test_every_command_is_in_the_page_of_commands() -> None:
    for name, _ in tables.commands():
        assert f"## {name}\n" in text("commands.md")


def test_routes_in_the_page_are_those_of_the_application(service: Service) -> None:
    paths = {str(getattr(route, "path", "")) for route in service.app.routes if not is_static(route)}
    shown = {re.sub(r"^[A-Z|]+ ", "", word) for word in column("http.md", "Routes") if "/" in word}
    assert shown == paths


def is_static(route: Any) -> bool:
    """Say whether a route only carries the scripts of /docs."""
    return "static" in str(getattr(route, "path", ""))


def test_metrics_in_the_page_are_those_in_the_code() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    shown = {name for name in column("operations.md", "Metrics") if name.startswith("hansang_")}
    made = {
        name if kind != "counter" or name.endswith("_total") else f"{name}_total" for kind, name in METRIC.findall(code)
    }
    assert shown == made
    assert set(re.findall(r"\bhansang_\w*[a-z]\b", text())) - shown == set()


async def scrape(service: Service) -> str:
    transport = httpx.ASGITransport(service.app)
    async with service.lifespan(service.app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/predict", json={"n": 1})).status_code == 200
        return (await client.get("/metrics")).text


def test_a_scrape_has_only_metrics_of_the_page(service: Service) -> None:
    lines = asyncio.run(scrape(service)).splitlines()
    scraped = {line.split()[2] for line in lines if line.startswith("# TYPE hansang_")}
    shown = set(column("operations.md", "Metrics"))
    assert scraped
    assert scraped - shown == set()


def test_columns_of_the_record_in_the_page_are_those_of_its_schema() -> None:
    assert column("record.md", "Columns") == SCHEMA.names


def test_columns_of_pairs_in_the_page_are_those_of_the_view(tmp_path: Path) -> None:
    shown = set(column("record.md", "Pairs")) - {"live_…", "other_…"}
    sides = {f"{side}_{name}" for side in ("live", "other") for name in column("record.md", "Pairs", 1)}
    assert shown | sides == set(connect(tmp_path).table("pairs").columns)


def test_statuses_in_the_page_are_those_of_the_error_tree() -> None:
    def tree(kind: type[Problem]) -> Iterator[type[Problem]]:
        for inner in kind.__subclasses__():
            if inner.__module__.startswith("hansang."):
                yield inner
                yield from tree(inner)

    section = text("http.md").split("\n## Errors\n", 1)[1].split("\n## ", 1)[0]
    shown = {int(status) for status in re.findall(r"^\| (\d{3}) \|", section, re.MULTILINE)}
    assert shown == {kind.status for kind in tree(Problem)} | {200, 207}


def test_runtimes_and_files_in_the_page_are_those_that_load() -> None:
    section = text("models.md").split("\n## Runtimes\n", 1)[1].split("\n## ", 1)[0]
    assert set(column("models.md", "Runtimes")) == {*LOADERS, "function", "pyfunc"} - {"python_function"}
    for flavor in LOADERS:
        assert f"`{flavor}`" in section
    for suffix in BARE:
        assert f"`{suffix}`" in section


def test_types_of_signatures_are_all_in_the_page() -> None:
    shown = column("models.md", "Schemas from signatures")
    assert set(SCALARS) <= set(shown)


def test_options_of_a_model_in_the_page_are_those_of_the_class() -> None:
    fields = [field.name for field in dataclasses.fields(Model) if field.init]
    assert column("models.md", "Options") == fields
    assert set(column("batching.md", "Options")) <= set(fields)


def test_options_of_an_endpoint_and_of_a_picture_are_all_in_the_page() -> None:
    page = text("services.md")
    for kind in (Endpoint, ImageLimits):
        for field in dataclasses.fields(kind):
            if field.init:
                assert f"`{field.name}" in page, f"{kind.__name__}.{field.name}"


def test_every_public_name_is_in_some_page() -> None:
    words = set(re.findall(r"\w+", text()))
    assert set(hansang.__all__) - words - {"__version__"} == set()


def test_loggers_in_the_page_are_those_that_are_set_up() -> None:
    for group in ("loggers", "handlers", "formatters"):
        assert set(read(DEFAULT)[group]) <= set(column("logging.md", group.capitalize()))


def test_files_named_in_the_architecture_exist() -> None:
    package = ROOT / "src/hansang"
    for name in re.findall(r"`([a-z_]+(?:/[a-z_.]+)*(?:\.py|/))`", text("architecture.md")):
        assert (package / name).exists() or (ROOT / name).exists(), name


def test_targets_of_make_in_the_page_are_those_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = [word.removeprefix("make ") for word in column("commands.md", "make") if word.startswith("make ")]
    assert sorted(shown) == sorted(targets)
