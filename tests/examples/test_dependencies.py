"""docs/dependencies.md gives a reason for every dependency, and the lock is that of this project."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTS = [
    PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"].values(),
    PROJECT["dependency-groups"]["dev"],
]
NAMES = sorted({Requirement(text).name for texts in LISTS for text in texts})


def described() -> list[str]:
    return re.findall(r"^\| ([A-Za-z0-9._-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)


def test_every_dependency_has_its_line_of_reasons() -> None:
    assert sorted(set(described()) - {"package"}) == NAMES


def test_the_lock_is_in_step_with_the_project() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lock_in_step.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("lock", "fault"),
    [
        ("numpy==1.26.4 \\\n    --hash=sha256:00\n", "numpy>=2.0 has no fitting pin; the lock has: 1.26.4"),
        ("pandas==2.2.0 \\\n    --hash=sha256:00\n", "numpy>=2.0 has no fitting pin; the lock has: none"),
        ("numpy==2.1.0\n", "numpy is pinned without a hash"),
        (
            "numpy==2.1.0 \\\n    --hash=sha256:00\nflask==3.0.0 \\\n    --hash=sha256:00\n"
            "    # via hansang (pyproject.toml)\n",
            "flask is pinned for the project, which does not ask for it",
        ),
    ],
)
def test_a_lock_out_of_step_is_told_apart(lock: str, fault: str) -> None:
    faults = runpy.run_path(str(ROOT / ".ci" / "lock_in_step.py"))["faults"]
    assert fault in faults([Requirement("numpy>=2.0")], lock)


def test_the_lock_names_no_address_and_no_path_of_a_machine() -> None:
    assert not re.search(r"https?://|file:|--index|--find-links|(^|\s)/", (ROOT / "requirements.lock").read_text())
