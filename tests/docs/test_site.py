"""The site builds without a warning, and can be read without a network."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import BIN, DOCS, ROOT, environment

FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(https?:)?//[^\s\">]+[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [BIN / "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file()


def test_no_page_of_the_site_fetches_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = [match[0] for match in FETCHED.finditer(page.read_text("utf-8")) if "canonical" not in match[0]]
        assert found == [], page.name


def test_the_readme_links_to_files_that_exist() -> None:
    for link in re.findall(r"\]\(([^)#\s]+)\)", (ROOT / "README.md").read_text("utf-8")):
        assert link.startswith("http") or (ROOT / link).exists(), link
