"""What tests of more than one folder share."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.models import steps


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of most slow tests: a file stays in one process, and the last one is waited for."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def steps_registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with good and bad versions of the models `steps` and `more`; made once for all processes of a run."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "steps"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "mlflow.db").exists():
            shutil.rmtree(folder / "made", ignore_errors=True)
            (folder / "made").mkdir()
            steps.register(folder / "made", ["steps", "more"], steps.write_all(folder / "versions"))
            (folder / "made" / "mlflow.db").rename(folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def steps_copy(steps_registry: str, tmp_path: Path) -> str:
    """The same registry for one test alone, whose aliases and tags it may change."""
    shutil.copy(steps_registry.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"
