"""The tables that are made from the code; `python -m tests.docs.tables` writes them into the pages."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from hansang.cli.main import app
from hansang.settings import Settings
from tests.docs.pages import DOCS


def settings_table() -> str:
    lines = ["| variable | default | values | what it does |", "|---|---|---|---|"]
    for name, info in Settings.model_fields.items():
        default = "" if info.default in (None, (), {}) else f"`{shown(info.default)}`"
        lines.append(f"| `HANSANG_{name.upper()}` | {default} | {kind(info.annotation)} | {info.description} |")
    return "\n".join(lines)


def shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def kind(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(annotation))
    if origin is types.UnionType:
        return kind(next(part for part in typing.get_args(annotation) if part is not type(None)))
    words: dict[Any, str] = {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        Path: "path",
        tuple: "list",
        dict: "table",
        SecretStr: "text",
    }
    return words[origin or annotation]


def commands() -> list[tuple[str, Any]]:
    """Give every command that does something, by its full name; click or typer's copy of it makes their types."""
    found: list[tuple[str, Any]] = []

    def walk(name: str, command: Any) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found.append((name, command))
        else:
            for part in sorted(inner):
                walk(f"{name} {part}", inner[part])

    walk("hansang", typer.main.get_command(app))
    return found


def is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def option_names(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


def command_tables() -> str:
    parts = []
    for name, command in commands():
        arguments = [f"{p.name}{'…' if p.nargs < 0 else ''}".upper() for p in command.params if not is_option(p)]
        lines = [f"## {name}", "", " ".join(str(command.help).split("\n\n")[0].split()), ""]
        lines += [f"`{' '.join([name, *arguments])}`", "", "| argument or option | default | |", "|---|---|---|"]
        lines += [line(parameter) for parameter in command.params if parameter.name != "help"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def line(parameter: Any) -> str:
    names = option_names(parameter) if is_option(parameter) else [parameter.name.upper()]
    default = parameter.default if is_option(parameter) else None
    value = "" if default in (None, False) or callable(default) else f"`{default}`"
    text = " ".join(str(parameter.help or "").split()).replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {value} | {text} |"


TABLES = {"settings": (DOCS / "operations.md", settings_table), "commands": (DOCS / "commands.md", command_tables)}


def marked(name: str, text: str) -> str:
    return f"<!-- {name}: made by python -m tests.docs.tables -->\n\n{text}\n\n<!-- end of {name} -->"


def main() -> None:
    for name, (path, make) in TABLES.items():
        pattern = re.compile(rf"<!-- {name}:.*?<!-- end of {name} -->", re.DOTALL)
        before, after = re.split(pattern, path.read_text("utf-8"), maxsplit=1)
        path.write_text(before + marked(name, make()) + after, "utf-8")


if __name__ == "__main__":
    main()
