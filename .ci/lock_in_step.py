"""Check without a network that requirements.lock is the lock of this pyproject.toml.

Every requirement there needs a pinned version that it allows, every pin needs a hash, and no pin may say that the
project asks for it when the project no longer does.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*(?:\n .*)*)", re.MULTILINE)


def wanted(project: dict[str, Any]) -> list[Requirement]:
    """Give the requirements of the core, of every extra and of the development group."""
    table = project["project"]
    lists = [table["dependencies"], *table["optional-dependencies"].values(), project["dependency-groups"]["dev"]]
    return [Requirement(text) for texts in lists for text in texts]


def faults(requirements: list[Requirement], lock: str) -> list[str]:
    """Say in what the lock differs from the requirements."""
    pins: dict[str, list[re.Match[str]]] = {}
    for pin in PIN.finditer(lock):
        pins.setdefault(canonicalize_name(pin["name"]), []).append(pin)
    found = []
    for requirement in requirements:
        versions = [pin["version"] for pin in pins.get(canonicalize_name(requirement.name), [])]
        if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
            found.append(f"{requirement} has no fitting pin; the lock has: {', '.join(versions) or 'none'}")
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    for name, matches in pins.items():
        if any("--hash=sha256:" not in pin["rest"] for pin in matches):
            found.append(f"{name} is pinned without a hash")
        if name not in names and any(re.search(r"hansang \(pyproject\.toml", pin["rest"]) for pin in matches):
            found.append(f"{name} is pinned for the project, which does not ask for it")
    return found


def main() -> None:
    """End with status 1 and the differences, if there are any."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = faults(wanted(project), (ROOT / "requirements.lock").read_text())
    if found:
        sys.exit("requirements.lock is not in step with pyproject.toml; run `make lock`\n" + "\n".join(found))
    print("requirements.lock is in step with pyproject.toml")


if __name__ == "__main__":
    main()
