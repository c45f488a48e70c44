"""What a function says of the rows that it takes and gives, read from its type hints."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import typing_extensions

NOTHING = type(None)
MARKS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)
CHANGERS = ("AfterValidator", "WrapValidator", "PlainValidator")
READERS = ("BeforeValidator", "WrapValidator", "PlainValidator")


def row_hint(function: Callable[..., Any]) -> Any:
    """Give the type of a function's first parameter; `Any` when it does not say."""
    try:
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    except (TypeError, ValueError):  # a function written in C that does not say
        return Any
    return hints_of(function).get(names[0], Any) if names else Any


def prediction_hint(function: Callable[..., Any]) -> Any:
    """Give the type of what a function returns, without what makes it awaitable; `Any` when it does not say."""
    hint = hints_of(function).get("return", Any)
    while get_origin(hint) in (Awaitable, Coroutine):
        hint = get_args(hint)[-1]
    return hint


def item_hint(function: Callable[..., Any]) -> Any:
    """Give the type of one prediction of a function that gives one a row in a list; `Any` for all other forms."""
    return item_of(prediction_hint(function))


def item_of(hint: Any) -> Any:
    """Give the type of the items of a list; `Any` for anything else."""
    args = get_args(hint)
    return args[0] if get_origin(hint) in (list, Sequence) and args else Any


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Read the hints of a function, of an object that is called like one, or of a partial one; none if they cannot be.

    Hints that are text are looked up in the module and among the names that the function closes over.
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = type(function).__call__
    try:
        closed = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
        return get_type_hints(function, localns=dict(closed) or None, include_extras=True)
    except Exception:  # a hint is any expression: it may name what is not there, or raise what it likes
        return {}


def bare(hint: Any) -> Any:
    """Give a hint without what stands around it: marks, annotations, names; `Any` where nothing is known.

    An annotation that can change the value makes it unknown.
    """
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            kinds = {type(mark).__name__ for mark in hint.__metadata__}
            if kinds.intersection(CHANGERS) or any(
                hasattr(m, "__get_pydantic_core_schema__") for m in hint.__metadata__
            ):
                return Any
            hint = hint.__origin__
        elif origin in MARKS or origin is typing_extensions.Final:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif isinstance(hint, typing_extensions.TypeAliasType):
            hint = hint.__value__
        elif hint is None:
            return NOTHING
        else:
            return hint if understood(hint) else Any


def understood(hint: Any) -> bool:
    """Say whether a hint means something here; text, type variables and protocols do not."""
    if isinstance(hint, str | TypeVar) or hint is object or hint is Any:
        return False
    origin = get_origin(hint) or hint
    if getattr(origin, "_is_protocol", False) and origin not in (Iterable, AsyncIterable):
        return False
    return (
        origin in (Union, UnionType, typing_extensions.Literal)
        or inspect.isclass(origin)
        or typing_extensions.is_typeddict(origin)
    )


def reads_otherwise(hint: Any) -> bool:
    """Say whether validation reads this type from other types than its own."""
    while get_origin(hint) in (Annotated, *MARKS):
        if any(type(mark).__name__ in READERS for mark in getattr(hint, "__metadata__", ())):
            return True
        hint = get_args(hint)[0]
    return False


def alternatives(hint: Any) -> list[Any]:
    """Give the types that a hint allows, unions resolved."""
    hint = bare(hint)
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) for kind in alternatives(part)]
    return [hint]


def outcomes(hint: Any) -> list[Any]:
    """Give the types that a prediction can have; errors are outcomes of a row that failed, and go no further."""
    kinds = alternatives(hint)
    return [kind for kind in kinds if not (inspect.isclass(kind) and issubclass(kind, BaseException))]
