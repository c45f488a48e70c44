"""The package as its files say it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(PROJECT))

    @property
    def name(self) -> str:
        """The name it is imported by."""
        parts = self.path.relative_to(SOURCE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        """The folder or the file under `hansang` that it belongs to; the package itself is `hansang`."""
        return [*self.name.split("."), "hansang"][1]

    @cached_property
    def text(self) -> str:
        """What stands in it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @property
    def functions(self) -> Iterator[Function]:
        """Its functions and methods, inner ones too."""
        return (item for item in ast.walk(self.tree) if isinstance(item, Function))

    @property
    def imports(self) -> set[str]:
        """The modules of the package that it imports when it is imported itself."""
        found: set[str] = set()
        for item in self.tree.body:
            if isinstance(item, ast.Import):
                found.update(alias.name for alias in item.names)
            elif isinstance(item, ast.ImportFrom):
                inner = {f"{item.module}.{alias.name}" for alias in item.names}
                found.update(inner & names() or {str(item.module)})
        return found & names() - {self.name}


@cache
def modules() -> tuple[Module, ...]:
    """Give every file of the package."""
    return tuple(Module(path) for path in sorted(SOURCE.rglob("*.py")))


@cache
def names() -> frozenset[str]:
    """Name every module of the package."""
    return frozenset(module.name for module in modules())
