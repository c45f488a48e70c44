"""`hansang rollout`: let a version challenge the champion, see how it does, and promote or abort it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hansang.cli.records import FOLDER, Folder
from hansang.errors import HansangError, RecordError, UsageError
from hansang.extras import require
from hansang.models.registry import Registry
from hansang.models.rollout import RUNNING, Rollout, read_rollout
from hansang.models.uri import open_registry
from hansang.record.moments import read_span
from hansang.rollout import control
from hansang.settings import Settings, load_settings

Name = Annotated[str, typer.Argument(help="Name of the registered model.")]
Uri = Annotated[str | None, typer.Option("--registry", help="MLflow registry [HANSANG_REGISTRY].")]
Why = Annotated[str, typer.Option("--why", help="Why, for the history.")]
Who = Annotated[str, typer.Option("--who", help="Who does it (default: the user of this system).")]
Id = Annotated[str, typer.Option("--id", help="Only if this rollout runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]

UNDECIDED = 3

app = typer.Typer(help="Roll a version out: shadow, split, steps, guards, verdict.", no_args_is_help=True)


@app.command()
def start(  # noqa: PLR0913, PLR0917  # each is an option of the command
    name: Name,
    challenger: Annotated[str, typer.Option(help="Version that challenges the champion.")],
    shadow: Annotated[bool, typer.Option("--shadow", help="It answers beside the champion, for the record.")] = False,
    split: Annotated[float, typer.Option(help="Percent of the rows that it answers.", min=0, max=100)] = 0.0,
    steps: Annotated[str, typer.Option(help="Percents of the rows, one after the other: 1,10,50,100.")] = "",
    every: Annotated[str, typer.Option(help="Time of a step, as 30m, 1h or 2d.")] = "",
    share: Annotated[float, typer.Option(help="Percent of the rows that a shadow gets.", min=0, max=100)] = 100.0,
    by: Annotated[str | None, typer.Option(help="What keeps rows together: a field, header:NAME or key.")] = None,
    guard: Annotated[list[str] | None, typer.Option(help="NAME=LIMIT or NAME=off; several.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="NAME or NAME=MARGIN; several.")] = None,
    why: Why = "",
    who: Who = "",
    registry: Uri = None,
) -> None:
    """Let a version challenge the champion: in the shadow, for a share of the rows, or for growing shares."""
    if [shadow, split > 0, bool(steps)].count(True) != 1:
        raise UsageError("give one of --shadow, --split and --steps")
    mode = "shadow" if shadow else "split"
    terms = require("hansang.rollout.terms", "", "a rollout")
    wish = control.Wish(
        challenger,
        "shadow" if shadow else "split",
        [part / 100.0 for part in ([share] if shadow else [split] if split else percents(steps))],
        why or f"started by hansang rollout as a {mode}",
        who,
        by,
        read_span(every, "every") if every else 0.0,
        terms.guards_of(guard or [], mode),
        terms.metrics_of(metric or [], mode),
        2.0 * load_settings(Settings).registry_poll + 1.0,  # times of the registry are whole seconds
    )
    print(line(name, control.start(opened(registry), name, wish)))


@app.command()
def status(name: Name, folder: Folder = FOLDER, registry: Uri = None, as_json: AsJson = False) -> None:
    """Show the verdict; 0 when the challenger may take over, 1 when it is bad or out, 3 while that is undecided."""
    source = opened(registry)
    said = source.registered(name)
    rollout = read_rollout(said.tags)
    if rollout is None:
        raise HansangError(f"no rollout of {name!r} was ever started")
    runs, refused = rollout.holds(said), control.refusal_of(source, name, rollout.challenger)
    judged = None
    note = ""
    try:
        judged = require("hansang.rollout.terms", "", "a rollout").judged(rollout, folder)
    except RecordError as error:
        note = str(error)
    code = exit_status(rollout, runs, bool(refused), judged)
    if as_json:
        facts = {**asdict(rollout), "runs": runs, "refused": refused or None, "note": note, "exit": code}
        print(to_json({"rollout": facts, "status": judged and judged.as_dict()}).decode())
    else:
        print(line(name, rollout, runs))
        for text in filter(None, (refused and f"refused: {refused}", note)):
            print(text)
        if judged is not None:
            Console().print(require("hansang.rollout.status", "", "a rollout").table(judged))
    raise typer.Exit(code)


@app.command()
def promote(  # each is an option of the command
    name: Name,
    why: Why = "",
    who: Who = "",
    id: Id = "",
    ready: Annotated[
        bool, typer.Option("--if-ready", help="Only when the verdict says that it may take over.")
    ] = False,
    folder: Folder = FOLDER,
    registry: Uri = None,
) -> None:
    """Make the challenger the champion."""
    source = opened(registry)
    rollout = control.running(source, name)
    evidence: dict[str, Any] = {}
    if rollout is not None:
        watch = require("hansang.rollout.watch", "", "a rollout")
        try:
            judged = require("hansang.rollout.terms", "", "a rollout").judged(rollout, folder)
            evidence = watch.evidence_of(judged)
            may = judged.may_take_over
        except RecordError:
            may = False
        if ready and not may:
            raise HansangError(f"rollout {rollout.id} of {name!r} may not take over yet; see: hansang rollout status")
    seen = id or (rollout.id if rollout is not None else "")
    why = why or "promoted by hansang rollout"
    print(line(name, control.promote(source, name, why=why, who=who, id=seen, evidence=evidence)))


@app.command()
def abort(name: Name, why: Why = "", who: Who = "", id: Id = "", registry: Uri = None) -> None:
    """Take the challenger out: the champion answers alone within one poll."""
    why = why or "aborted by hansang rollout"
    print(line(name, control.abort(opened(registry), name, why=why, who=who, id=id)))


@app.command()
def history(name: Name, registry: Uri = None, as_json: AsJson = False) -> None:
    """List what was done to the rollouts of a model, oldest first, with who, when and why."""
    events = control.history(opened(registry), name)
    if as_json:
        for event in events:
            print(to_json(asdict(event)).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("when", "rollout", "version", "action", "share", "who", "why"):
        table.add_column(column)
    for event in events:
        share = f"{100 * event.share:g} %"
        words = (event.when, event.rollout, event.version, event.action, share, event.who, event.why)
        table.add_row(*map(escape, words))
    if events:
        Console(soft_wrap=True).print(table)
    else:
        print(f"no rollout of {name!r} was ever started")


@app.command()
def watch(
    name: Name,
    folder: Folder = FOLDER,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    registry: Uri = None,
) -> None:
    """Watch the guards of a rollout until it is over, as each server does by itself; 1 if it is rolled back."""
    module = require("hansang.rollout.watch", "", "a rollout")
    source, seconds = opened(registry), load_settings(Settings).registry_poll

    def pause(took: float) -> bool:
        time.sleep(max(seconds, took))
        return True

    with module.place(folder, name) as alone:
        if not alone:
            raise HansangError(f"the rollout of {name!r} is watched already for {folder}, by a server or another watch")
        module.watch(source, name, folder, (lambda took: False) if once else pause)
    rollout = read_rollout(source.registered(name).tags)
    if rollout is not None:
        print(line(name, rollout))
        raise typer.Exit(1 if rollout.state == control.ROLLED_BACK else 0)


def opened(uri: str | None) -> Registry:
    """Open the registry."""
    return open_registry(uri or load_settings(Settings).registry)


def percents(text: str) -> list[float]:
    """Read the steps."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--steps {text!r} is no list of percents; write 1,10,50,100") from error


def line(name: str, rollout: Rollout, runs: bool = True) -> str:
    """Say in a line how a rollout is."""
    state = control.over_words(rollout) if rollout.state != RUNNING or not runs else "runs"
    more = f", then {', '.join(f'{100 * step:g} %' for step in rollout.steps)}" if rollout.steps else ""
    share = f"{rollout.mode} {100 * rollout.share:g} %{more}"
    versions = f"version {rollout.challenger} against {rollout.champion}"
    return f"{name}: rollout {rollout.id} {state}: {versions}, {share}, since {rollout.since}"


def exit_status(rollout: Rollout, runs: bool, refused: bool, judged: Any) -> int:
    """Give the status for a scheduler."""
    if rollout.state == control.PROMOTED:
        return 0
    if not runs or refused:
        return 1
    if judged is None:
        return UNDECIDED
    bad = judged.failed or any(verdict.word == "worse" for verdict in judged.verdicts)
    return 0 if judged.may_take_over else 1 if bad else UNDECIDED
