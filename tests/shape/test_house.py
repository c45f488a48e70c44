"""The budgets of the house, read from the tree itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import hansang
from tests.shape.tree import PROJECT, Function, Module, modules

# Imports go to the same room or to one further down. The ground floor is one row: its files may import each other.
FLOORS = (
    {"cli"},
    {"up"},
    {"replay"},
    {"server", "scoring", "doctor", "reports"},
    {"target", "alone", "pictures", "rollout"},
    {"service"},
    {"joints"},
    {"outline"},
    {"nodes"},
    {"models", "record", "jobs", "peers"},
    {
        *(
            "batch",
            "call",
            "codec",
            "dispatch",
            "errors",
            "extras",
            "fingerprint",
            "graph",
            "isolate",
            "lanes",
            "logs",
            "metrics",
            "owner",
            "places",
            "settings",
            "site",
            "switches",
            "testing",
            "tracing",
            "types",
        ),
        "hansang",
    },
)
GROUND = len(FLOORS) - 1
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Looked up by name when it is first used: `service.app` is a property of the service, and FastAPI stays out of it.
LOOKED_UP = {("hansang.service", "hansang.server.app"), ("hansang.cli.serve", "hansang.server.run")}

every_module = pytest.mark.parametrize("module", modules(), ids=str)


@every_module
def test_a_file_is_short_enough_to_be_read_at_once(module: Module) -> None:
    lines = len(module.text.splitlines())
    assert lines <= 400, f"{module} has {lines} lines"


def length(function: Function) -> int:
    """Count a function's lines, its docstring aside."""
    first = function.body[0]
    described = isinstance(first, ast.Expr) and ast.get_docstring(function) is not None
    documentation = (first.end_lineno or 0) - first.lineno + 1 if described else 0
    return (function.end_lineno or 0) - function.lineno + 1 - documentation


@every_module
def test_a_function_fits_on_a_screen(module: Module) -> None:
    long = {function.name: size for function in module.functions if (size := length(function)) > 40}
    assert not long, f"{module}: {long}"


@every_module
def test_imports_point_down(module: Module) -> None:
    assert module.room in FLOOR, f"{module}: say on which floor {module.room} is"
    for name in module.imports:
        other = [*name.split("."), "hansang"][1]
        level, target = FLOOR[module.room], FLOOR[other]
        allowed = other == module.room or target > level or level == target == GROUND
        assert allowed or name == "hansang", f"{module} imports {name}, which is not below it"


def test_there_are_no_import_cycles() -> None:
    edges = {module.name: module.imports for module in modules()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@every_module
def test_nothing_is_imported_inside_a_function(module: Module) -> None:
    inside = [
        f"{function.name} line {item.lineno}"
        for function in module.functions
        for item in ast.walk(function)
        if isinstance(item, ast.Import | ast.ImportFrom)
    ]
    assert not inside, f"{module}: {inside}"


def lookups(module: Module) -> Iterator[str]:
    """Find the modules of the package that are imported by name."""
    for item in ast.walk(module.tree):
        if isinstance(item, ast.Call) and getattr(item.func, "id", getattr(item.func, "attr", "")) in (
            "require",
            "import_module",
        ):
            first = item.args[0]
            if isinstance(first, ast.Constant) and str(first.value).startswith("hansang"):
                yield str(first.value)


def test_modules_that_are_looked_up_by_name_are_these() -> None:
    found = {(module.name, name) for module in modules() for name in lookups(module)}
    upwards = {(module, name) for module, name in found if FLOOR[name.split(".")[1]] < FLOOR[module.split(".")[1]]}
    assert upwards <= LOOKED_UP


@every_module
def test_nothing_is_left_to_do(module: Module) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", module.text)


@every_module
def test_a_module_says_what_it_is_for(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module} has no docstring"


def test_the_package_has_few_public_names() -> None:
    assert len(hansang.__all__) <= 20


def test_every_type_ignore_has_a_code_and_a_reason() -> None:
    paths = [module.path for module in modules()] + sorted((PROJECT / "tests").rglob("*.py"))
    bare = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"# type: ignore(?!\[[\w, -]+\]  # \S)", line) and "re.search" not in line
    ]
    assert not bare
