"""Two versions beside each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from hansang.models.manifest import hashes
from hansang.models.versions.changes import changes
from hansang.models.versions.facts import signature_of
from hansang.models.versions.opened import Opened

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*(.*)$")
Pair = list[Any]


def difference(before: Opened, after: Opened) -> dict[str, Any]:
    """Compare two versions as JSON values; `breaks` says whether the clients of the first break with the second.

    Everything but `schema` holds only what differs: a name with its value before and after, None where it is not.
    """
    old, new = before.artifact(), after.artifact()
    found = changes(signature_of(old), signature_of(new))
    return {
        "before": before.title,
        "after": after.title,
        "breaks": any(change.breaks for change in found),
        "schema": [asdict(change) | {"said": str(change)} for change in found],
        "flavors": pairs(dict.fromkeys(old.flavors, True), dict.fromkeys(new.flavors, True)),
        "params": pairs(of(before, "params"), of(after, "params")),
        "metrics": pairs(of(before, "metrics"), of(after, "metrics")),
        "tags": pairs(of(before, "told"), of(after, "told")),
        "data": pairs(data_of(before), data_of(after)),
        "dependencies": pairs(dependencies(before.path), dependencies(after.path)),
        "files": pairs(files_of(before.path), files_of(after.path)),
    }


def pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Pair]:
    """Put what differs beside each other."""
    names = dict.fromkeys([*before, *after])
    return {name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)}


def of(opened: Opened, what: str) -> Mapping[str, Any]:
    """Give something of the run that made a version."""
    found: Mapping[str, Any] = getattr(opened.run, what) if opened.run is not None else {}
    return found


def data_of(opened: Opened) -> dict[str, str]:
    """Name the data that a version was made of, by context and name."""
    datasets = opened.run.datasets if opened.run is not None else ()
    return {
        f"{each.context or 'data'} {each.name}": f"{each.digest}, {each.profile.get('num_rows', '?')} rows"
        for each in datasets
    }


def files_of(path: Path) -> dict[str, str]:
    """Name the files with the first digits of their hashes, and their sizes."""
    if not path.is_dir():
        return {}
    return {name: f"{value[:12]}, {(path / name).stat().st_size} bytes" for name, value in hashes(path).items()}


def dependencies(path: Path) -> dict[str, str]:
    """Read what packages a version needs, and which Python it was made with."""
    found: dict[str, str] = {}
    if (path / "requirements.txt").is_file():
        for line in (path / "requirements.txt").read_text("utf-8").splitlines():
            match = PINNED.match(line.partition("#")[0].strip())
            if match:
                found[match[1]] = match[2].strip() or "any"
    if (path / "python_env.yaml").is_file():
        document = yaml.safe_load((path / "python_env.yaml").read_text("utf-8"))
        if isinstance(document, dict) and document.get("python"):
            found["python"] = str(document["python"])
    return found
