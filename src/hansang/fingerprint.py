"""What the answers of a graph depend on beside the rows, as text: for caches that outlive a process.

Equal texts mean equal answers; a text that differs for no reason costs a cache some hits and nothing else. What cannot
be told from another process's gets a text that is this process's own, so that it is never shared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import uuid4

import numpy as np

from hansang.metrics import Counter, Histogram

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
OURS = __name__.partition(".")[0]
PRIVATE = f"only in process {uuid4().hex}"
DEEPEST = 12


class Description:
    """Describes values; one that has been described already is named by its number, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}
        self._depth = 0

    def of(self, value: Any) -> str:
        """Describe any value."""
        kind = type(value)
        if kind in PLAIN:
            return repr(value)
        known = self._seen.get(id(value))
        if known is not None:
            return f"#{known[0]}"
        self._seen[id(value)] = (len(self._seen), value)
        self._depth += 1
        try:
            return self._of(value, kind) if self._depth <= DEEPEST else PRIVATE
        finally:
            self._depth -= 1

    def _of(self, value: Any, kind: type) -> str:  # noqa: PLR0911  # one line a kind
        if isinstance(value, type):
            return self.of_class(value)
        if isinstance(value, Counter | Histogram):
            return "counted"
        if hasattr(kind, "fingerprint"):
            return str(value.fingerprint())
        if isinstance(value, FunctionType):
            return self.of_function(value)
        if isinstance(value, MethodType):
            return f"method({self.of(value.__func__)}, {self.of(value.__self__)})"
        if isinstance(value, partial):
            return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"
        if isinstance(value, ModuleType):
            return f"module {value.__name__} {getattr(value, '__version__', '')}"
        if isinstance(value, np.ndarray | np.generic):
            return f"array {value.dtype} {value.shape} {digest(value.tolist() if value.dtype.hasobject else value)}"
        return self._of_container(value, kind)

    def _of_container(self, value: Any, kind: type) -> str:  # noqa: PLR0911  # one line a kind
        name = name_of(kind)
        if isinstance(value, Mapping):
            return f"{name}({', '.join(f'{self.of(key)}: {self.of(item)}' for key, item in value.items())})"
        if isinstance(value, set | frozenset):
            return f"{name}({', '.join(sorted(map(self.of, value)))})"
        if isinstance(value, tuple | list):
            return f"{name}({', '.join(map(self.of, value))})"
        if is_dataclass(value):
            return self.of_fields(value)
        text = repr(value)
        if " at 0x" not in text:
            return f"{name} {text}"
        if isinstance(value, BuiltinFunctionType):
            return f"{value.__module__}.{value.__qualname__}"
        return f"{self.of(kind)}({self.of(vars(value))})" if hasattr(value, "__dict__") else f"{name} {PRIVATE}"

    def of_fields(self, value: Any) -> str:
        """Describe a dataclass by its class and the fields that its constructor takes, but for nodes aside."""
        aside = getattr(value, "aside", ())
        given = (f"{f.name}={self.of(getattr(value, f.name))}" for f in fields(value) if f.init and f.name not in aside)
        return f"{self.of(type(value))}({', '.join(given)})"

    def of_class(self, kind: type) -> str:
        """Describe a class: one that is not Hansang's own or a library's by the code of its methods, too."""
        bases = [base for base in kind.__mro__ if is_own(base.__module__)]
        methods = [value for base in bases for value in vars(base).values()]
        code = [self.of(getattr(method, "__func__", method)) for method in methods if is_method(method)]
        return f"{name_of(kind)}{digest(code) if code else ''}"

    def of_function(self, function: Any) -> str:
        """Describe a function by its name, its code, its defaults, what it encloses, and the globals that it uses."""
        cells = [cell_of(cell) for cell in function.__closure__ or ()]
        parts = [
            code_text(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            *map(self.of, cells),
            *(f"{name}={self.of(value)}" for name, value in used_globals(function)),
        ]
        text = digest(parts)
        private = f" {PRIVATE}" if any(PRIVATE in part for part in parts) else ""
        return f"{function.__module__}.{function.__qualname__} {text}{private}"


def described(value: Any) -> str:
    """Describe a value so that equal texts mean equal behaviour; see the module."""
    return Description().of(value)


def described_fields(node: Any) -> str:
    """Describe a node by its class and its fields; its run-time state is not part of it."""
    description = Description()
    if is_dataclass(node):
        return description.of_fields(node)
    return f"{description.of(type(node))}({description.of(vars(node)) if hasattr(node, '__dict__') else ''})"


def digest(value: Any) -> str:
    """Hash an array's bytes, or any value's text."""
    data = np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray | np.generic) else repr(value).encode()
    return blake2b(data, digest_size=16).hexdigest()


def code_text(code: CodeType) -> str:
    """Give what a function does, without where it stands: a comment or another line number changes nothing."""
    constants = [const_text(constant) for constant in code.co_consts]
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags)
    return f"{sys.version_info[:2]} {names} {code.co_code.hex()} {constants}"


def const_text(constant: Any) -> str:
    """Give a constant of a function's code; sets have no order of their own."""
    if isinstance(constant, CodeType):
        return code_text(constant)
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def cell_of(cell: Any) -> Any:
    """Give what a closure holds; a name that has no value yet holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def used_globals(function: Any) -> Iterator[tuple[str, Any]]:
    """Find the constants, the functions and the classes beside a function that its code names."""
    names = sorted(names_in(function.__code__))
    own = str(function.__module__).partition(".")[0]
    for name in names:
        value = function.__globals__.get(name, function)
        if value is function:
            continue
        if is_constant(value):
            yield name, value
        elif isinstance(value, FunctionType | type) and str(value.__module__).partition(".")[0] == own:
            yield name, value


def names_in(code: CodeType) -> set[str]:
    """Give the names that code looks up, in inner functions too."""
    return {*code.co_names}.union(*(names_in(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def is_constant(value: Any) -> bool:
    """Say whether a value is plain, an array, or made of such."""
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(is_constant, value))
    if type(value) is dict:
        return all(map(is_constant, value.values()))
    return type(value) in PLAIN or isinstance(value, np.ndarray)


def is_method(value: Any) -> bool:
    """Say whether something in a class is code."""
    return isinstance(value, FunctionType | classmethod | staticmethod)


def is_own(module: str) -> bool:
    """Say whether a class is the user's own: neither Hansang's, whose version counts, nor an installed library's."""
    root = module.partition(".")[0]
    place = str(getattr(sys.modules.get(root), "__file__", "") or "")
    return root not in {OURS, *sys.stdlib_module_names} - {"__main__"} and "site-packages" not in place


def name_of(kind: type) -> str:
    """Name a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"
