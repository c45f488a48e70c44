"""The one way to import an optional package."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from hansang.errors import MissingExtra


def require(module: str, extra: str, purpose: str = "this") -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises `MissingExtra` with the install command. `extra` is empty for a package of the core that is imported late
    only because its import is slow.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = f"hansang[{extra}]" if extra else "hansang"
        missing = error.name or module
        raise MissingExtra(f'{purpose} needs the package {missing!r}: pip install "{name}"') from error


def present(module: str, extra: str, purpose: str = "this") -> None:
    """Make sure that an optional package is installed, without importing it; raises `MissingExtra`."""
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None:
        raise MissingExtra(f'{purpose} needs the package {module!r}: pip install "hansang[{extra}]"')
