"""Every block of the README and of the pages runs, and gives what stands below it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Page, environment, pages

TRAIN = "python examples/bikes/train.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]  # the first page of a process waits for the training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the example's training once; gives the folder with its registry, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [sys.executable, ROOT / "examples/bikes/train.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    return folder, done.stdout


class Trained(Page):
    """A page whose training has been run already."""

    trained: tuple[Path, str]

    def command(self, command: str) -> str:
        if command.partition("#")[0].strip() == TRAIN:
            return self.trained[1]
        return super().command(command)


@pytest.fixture
def page(
    request: pytest.FixtureRequest, tmp_path: Path, trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    for name in ("mlflow.db", "mlruns"):
        source = trained[0] / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        elif source.exists():
            shutil.copy(source, tmp_path / name)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    page = Trained(request.param, tmp_path)
    page.trained = trained
    monkeypatch.setitem(sys.modules, "page", page.module)
    yield page
    page.close()
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", pages(), indirect=True, ids=lambda path: path.name)
def test_every_block_of_a_page_runs_and_gives_what_it_shows(page: Page) -> None:
    page.run()
