"""Print the figures, keep them in `.bench/results.json`, and write docs/benchmarks.md with its plots."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from environments import BENCH, ROOT
from tables import Table

STORE = BENCH / "results.json"
INTRODUCTION = """\
# Benchmarks

Written by `make bench`; every number below is from the machine described here, and none is typed by hand. Each server
has its own virtual environment with the versions listed at the end, runs on 127.0.0.1 with one worker and without an
access log, and answers the same model on random rows. Before and after the load its answers are compared with
scikit-learn's own.

- **Requests/s and latencies**: closed loop with `wrk`, one thread, after a warm-up in which every answer is looked
  into; the bare echo and Hansang run three times, the run of median CPU counts. The load generator shares the
  machine's cores, so servers with many processes suffer most.
- **CPU µs**: user and system time of the server's whole process tree, divided by the requests. It depends
  far less than requests/s on what else the machine does: the figure to compare by.
- **Memory**: proportional set size of the tree, after the load. **First answer**: from starting the process to its
  first answer.
"""


def load_results() -> dict:
    return json.loads(STORE.read_text()) if STORE.exists() else {}


def save_results(results: dict) -> None:
    """Write the figures whole or not at all."""
    STORE.parent.mkdir(exist_ok=True)
    fresh = STORE.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1))
    os.replace(fresh, STORE)


def print_tables(tables: Sequence[Table]) -> None:
    from rich.console import Console
    from rich.table import Table as Rich

    console = Console(width=None if os.isatty(1) else 200)
    for table in tables:
        shown = Rich(title=table.title, title_justify="left", caption_justify="left")
        for number, name in enumerate(table.head):
            shown.add_column(name.replace("`", ""), justify="left" if number == 0 else "right")
        for row in table.rows:
            shown.add_row(*(cell.replace("`", "").replace("**", "") for cell in row))
        console.print(shown)


def write_document(results: dict, tables: Sequence[Table], path: Path) -> None:
    """Write the page and its plots, which stand in a folder of the page's name beside it."""
    from plots import draw

    pictures = draw(results, path.with_suffix(""))
    by_title = {table.title: table for table in tables}
    claims = by_title.pop("Must show", None)
    parts = [INTRODUCTION, _machine(results)]
    if claims:
        parts += ["## Must show", claims.markdown()]
    for table in by_title.values():
        parts += [f"## {table.title}", *([f"{table.says}."] if table.says else []), table.markdown()]
    parts += ["## Plots", *(f"![{says}]({path.stem}/{name})" for name, says in pictures)]
    parts += ["## The servers", _servers(results), "## Commands", _commands(results)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip() for part in parts).replace(str(ROOT), ".") + "\n")


def _machine(results: dict) -> str:
    lines = [f"- {name}: {value}" for name, value in results.get("machine", {}).items()]
    return "\n".join([f"Last run {results['at']} ({results['effort']}).", "", *lines])


def _servers(results: dict) -> str:
    lines = ["| server | what it is | versions |", "|---|---|---|"]
    seen = set()
    for row in results.get("online", {}).values():
        if row["peer"] not in seen:
            seen.add(row["peer"])
            versions = ", ".join(f"{name} {version}" for name, version in row.get("versions", {}).items())
            lines.append(f"| {row['peer']} | {row['says']} | {versions} |")
    return "\n".join(lines)


def _commands(results: dict) -> str:
    return "\n".join(
        [
            "```sh",
            "make bench                                          # everything",
            "python benchmarks/run.py --quick                    # shorter runs, fewer forms",
            "python benchmarks/run.py --only hansang,echo,idle   # some rows again; the others are kept, marked",
            "python benchmarks/soak.py --minutes 10",
            "python benchmarks/kills.py; python benchmarks/warehouse.py   # their verdicts are in the table above",
            "```",
            "",
            f"The last run was `python benchmarks/run.py {results['arguments']}`.",
            "The servers' sources are in `benchmarks/peers/`.",
        ]
    )
