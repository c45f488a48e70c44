"""The tables of `hansang models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from hansang.cli.records import show_table


def show_list(found: Sequence[Mapping[str, Any]]) -> None:
    """Print the versions of the registry."""
    if not found:
        print("the registry has no versions")
        return
    rows = [
        (
            each["model"],
            each["version"],
            ", ".join(each["aliases"]),
            each["created"],
            said_of(each),
            each["description"],
        )
        for each in found
    ]
    show_table(("model", "version", "aliases", "created", "state", "description"), rows, ("description",))


def said_of(entry: Mapping[str, Any]) -> str:
    """Say in a few words how it is with a version."""
    words = [] if entry["status"] == "READY" else [str(entry["status"]).lower()]
    if entry["refused"]:
        words.append("refused")
    if isinstance(entry["rollout"], Mapping) and entry["rollout"].get("action"):
        words.append(f"{entry['rollout']['action']} {str(entry['rollout'].get('when', ''))[:10]}".strip())
    return ", ".join(words) or "ready"


def show_facts(found: Mapping[str, Any]) -> None:
    """Print what there is to say of a version."""
    print(f"{found['model']} version {found['version']}")
    show_table(("what", "value"), head(found))
    for side in ("inputs", "outputs"):
        if found[side]:
            part(side, ("name", "type", "required"), rows_of(found[side]))
    part("params", ("name", "default"), rows_of(found["params"]))
    run = found["run"]
    if run is not None:
        for what in ("params", "metrics", "tags"):
            part(f"{what} of the run", ("name", "value"), run[what].items())
        part("data of the run", ("name", "context", "rows", "digest"), data_rows(run["data"]))
    part("tags", ("name", "value"), found.get("tags", {}).items())
    part(
        "files", ("name", "bytes", "sha256"), [(each["name"], each["bytes"], each["sha256"]) for each in found["files"]]
    )


def head(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Give the facts that need one line each."""
    run, manifest, golden = found["run"], found["manifest"], found["golden"]
    rows = [
        ("aliases", ", ".join(found.get("aliases", ())) or None),
        ("created", found.get("created")),
        ("flavors", ", ".join(found["flavors"])),
        ("signature", found["signature_from"]),
        ("example", to_json(found["example"]).decode() if found["example"] else None),
        ("run", f"{run['name']} {run['id']}" if run else None),
        ("manifest", manifest["fault"] or signed(manifest)),
        ("golden requests", golden["fault"] or golden["requests"]),
    ]
    tags = [(f"hansang.{name}", words(found[name])) for name in ("refused", "rollout") if found.get(name)]
    return [*rows, *tags]


def signed(manifest: Mapping[str, Any]) -> str:
    """Say how it is with the manifest."""
    if not manifest["there"]:
        return "none"
    if manifest["signed_by"] is None:
        return "files as named, not signed"
    return f"files as named, signed by {manifest['signed_by']}" + ("" if manifest["known"] else ", not a known key")


def words(value: Any) -> str:
    """Write what a tag says, without what is empty."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner not in (None, "", {}))


def show_difference(found: Mapping[str, Any]) -> None:
    """Print two versions beside each other."""
    print(f"{found['before']} to {found['after']}")
    rows = [
        (each["side"], each["field"], each["what"], each["before"], each["after"], verdict(each))
        for each in found["schema"]
    ]
    part("schema", ("side", "field", "change", "before", "after", "for clients"), rows)
    for what in ("flavors", "params", "metrics", "tags", "data", "dependencies", "files"):
        pairs = [(name, *map(plain, pair)) for name, pair in found[what].items()]
        part(what, ("name", "before", "after"), pairs)
    broken = [each["said"] for each in found["schema"] if each["breaks"]]
    print(f"\nbreaks the clients: {'; '.join(broken)}" if broken else "\nbreaks no client")


def verdict(change: Mapping[str, Any]) -> str:
    """Say what a change means for clients."""
    return "breaks" if change["breaks"] else "fits"


def plain(value: Any) -> Any:
    """Write a number shortly."""
    return f"{value:.6g}" if isinstance(value, float) else value


def show_checks(found: Iterable[Any]) -> None:
    """Print what each check found."""
    marks = {True: "passed", False: "failed", None: "-"}
    show_table(("check", "result", "found"), [(each.name, marks[each.passed], each.said) for each in found])


def part(title: str, names: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table under its title, unless it is empty."""
    rows = [list(map(plain, row)) for row in rows]
    if rows:
        print(f"\n{title}")
        show_table(names, rows)


def rows_of(found: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Give the values of some facts."""
    return [list(each.values()) for each in found]


def data_rows(found: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Give what is told of datasets."""
    return [(each["name"], each["context"], each.get("rows"), each["digest"]) for each in found]
