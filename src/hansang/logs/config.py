"""One configuration of Python's logging for all processes of a service: read, checked, put in place."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hansang.errors import UsageError
from hansang.extras import require
from hansang.logs.lines import Requests

DEFAULT = Path(__file__).with_name("default.toml")
CONFIG, LEVEL = "HANSANG_LOG_CONFIG", "HANSANG_LOG_LEVEL"
LEVELS = ("debug", "info", "warning", "error", "critical")
KEYS = {
    "": {"version", "disable_existing_loggers", "formatters", "filters", "handlers", "loggers", "root"},
    "formatters": {"()", "class", "format", "datefmt", "style", "validate", "defaults"},
    "loggers": {"level", "handlers", "filters", "propagate"},
    "root": {"level", "handlers", "filters"},
}
FAULT = re.compile(r"Unable to (?:configure|set target|add)?.*?(formatter|filter|handler|logger) '(.+?)'|root logger")
ROTATING = ("logging.handlers.RotatingFileHandler", "logging.handlers.TimedRotatingFileHandler")
FILTER = "hansang"


def configure(role: str, path: Path | None = None, levels: str | None = None) -> None:
    """Set up the logging of this process, and of those that it starts; raises `UsageError` naming file and key.

    `role` is what the process is called in its lines: `server`, `worker-0`, `compactor`, `delivery`. Without a `path`
    it is the default, which `hansang logging` prints; `levels` is as `HANSANG_LOG_LEVEL` has it.
    """
    path = DEFAULT if path is None else path.absolute()
    document = prepared(path, role, levels)
    try:
        logging.config.dictConfig(document)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise UsageError(f"the logging configuration {path}: {place(error)}") from error
    logging.captureWarnings(True)
    for name, value in ((CONFIG, None if path == DEFAULT else str(path)), (LEVEL, levels)):
        if value is not None:
            os.environ[name] = value


def configure_helper(role: str) -> None:
    """Set up the logging of a process that a server has started; a configuration that is wrong is told, not fatal."""
    path, levels = os.environ.get(CONFIG), os.environ.get(LEVEL)
    try:
        configure(role, Path(path) if path else None, levels)
    except UsageError as error:
        os.environ.pop(CONFIG, None)
        configure(role)
        logging.getLogger("hansang").error("%s; this process logs as by default", error)


def prepared(path: Path, role: str, levels: str | None) -> dict[str, Any]:
    """Read and check a configuration, and add to it what no file need say; raises `UsageError`."""
    document = read(path)
    check(path, document)
    for name, handler in document.get("handlers", {}).items():
        handler["filters"] = [FILTER, *handler.get("filters", ())]
        if isinstance(handler.get("filename"), str):
            if handler.get("class") in ROTATING and not re.search(r"\{(process|pid)\}", handler["filename"]):
                raise UsageError(
                    f"the logging configuration {path}: handlers.{name}: several processes cannot share a "
                    f"{handler['class'].rpartition('.')[2]}; take hansang.logs.rotating.RotatingFile, or write "
                    "{process} or {pid} into filename"
                )
            named = handler["filename"].replace("{process}", role).replace("{pid}", str(os.getpid()))
            handler["filename"] = named
    document.setdefault("filters", {})[FILTER] = {"()": Requests, "role": role}
    document.setdefault("disable_existing_loggers", False)
    every, single = parse_levels(levels or "")
    if every is not None:
        document.setdefault("root", {})["level"] = every
    for name, level in single.items():
        document.setdefault("loggers", {}).setdefault(name, {})["level"] = level
    return document


def parse_levels(text: str) -> tuple[str | None, dict[str, str]]:
    """Read `info` or `info,uvicorn=debug`: the level of all loggers that have none of their own, and of single ones.

    Raises `ValueError`.
    """
    every, single = None, {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, level = part.rpartition("=")
        if level.strip().lower() not in LEVELS or (equals and not name.strip()):
            raise ValueError(f"{part!r} is no level; write one of {', '.join(LEVELS)}, or logger=level")
        if equals:
            single[name.strip()] = level.strip().upper()
        else:
            every = level.upper()
    return every, single


def read(path: Path) -> dict[str, Any]:
    """Read a configuration from TOML, YAML or JSON; raises `UsageError` when it is none."""
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"the logging configuration {path} cannot be read: {error}") from error
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else require("yaml", "").safe_load(text)
    except Exception as error:  # the error of YAML is one of its own kind
        raise UsageError(f"the logging configuration {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UsageError(f"the logging configuration {path} is no table; `hansang logging` prints one to begin with")
    return document


def check(path: Path, document: Mapping[str, Any]) -> None:
    """Find what Python's logging would pass over in silence; raises `UsageError`."""
    for key, fault in faults(document):
        raise UsageError(f"the logging configuration {path}: {key}: {fault}")


def faults(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the keys that are wrong, each with what is wrong with it."""
    yield from unknown("", document, KEYS[""])
    if document.get("version") != 1:
        yield "version", f"it must be 1, not {document.get('version')!r}"
    for group in ("formatters", "filters", "handlers", "loggers"):
        for name, entry in tables(document, group):
            key = f"{group}.{name}"
            if not isinstance(entry, dict):
                yield key, "it must be a table"
                continue
            if group in KEYS and "()" not in entry:
                yield from unknown(key, entry, KEYS[group])
            if group == "handlers" and "class" not in entry and "()" not in entry:
                yield key, "class is missing"
            yield from wrong_level(key, entry)
    root = document.get("root", {})
    if not isinstance(root, dict):
        yield "root", "it must be a table"
    else:
        yield from unknown("root", root, KEYS["root"])
        yield from wrong_level("root", root)


def tables(document: Mapping[str, Any], group: str) -> Iterator[tuple[str, Any]]:
    """Give the entries of one group; what is no table at all is an entry that is wrong."""
    entries = document.get(group, {})
    yield from entries.items() if isinstance(entries, dict) else [("*", entries)]


def unknown(key: str, entry: Mapping[str, Any], known: set[str]) -> Iterator[tuple[str, str]]:
    """Find keys that mean nothing."""
    for name in entry:
        if name not in known:
            yield f"{key}.{name}".lstrip("."), f"there is no such key; there are {', '.join(sorted(known))}"


def wrong_level(key: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Find a level that there is not; one in small letters is written in capitals."""
    level = entry.get("level")
    if isinstance(level, str):
        entry["level"] = level.upper()
        if entry["level"] not in logging.getLevelNamesMapping():
            yield f"{key}.level", f"{level!r} is no level; there are {', '.join(LEVELS)} and notset"


def place(error: BaseException) -> str:
    """Say which key Python's logging could not make something of, and why."""
    found = FAULT.search(str(error))
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    why = str(error) if cause is None else f"{type(cause).__name__}: {cause}"
    if found is None:
        return why
    return f"{f'{found[1]}s.{found[2]}' if found[1] else 'root'}: {why}"
