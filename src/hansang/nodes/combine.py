"""How the answers of several nodes become one: a weighted mean, or a vote.

A combiner gets the batches of the members that answered, none of whose rows failed, and gives one prediction a row. It
works on whole columns where the members gave columns. Sums go member by member, so that a row's number does not depend
on the batch that it came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from hansang.batch import Batch, field_names, getter

Answers = Mapping[str, Batch]
Weights = Mapping[str, float]

NUMBERS = frozenset({int, float, bool})
NUMERIC = "biuf"


def mean(answers: Answers, weights: Weights) -> Any:
    """Average numbers, arrays, and dicts of them field by field, in float64; models of pydantic become dicts.

    Raises `TypeError` or `ValueError` for predictions that have no mean, naming the member.
    """
    shares = {name: weights[name] for name in answers}
    if not sum(shares.values()) > 0:
        raise ValueError(f"the weights of the members that answered ({', '.join(shares)}) are 0")
    columns = {name: batch.whole for name, batch in answers.items()}
    if all(columns.values()):
        whole: dict[str, Mapping[str, np.ndarray]] = {name: column or {} for name, column in columns.items()}
        fields = same_fields({name: tuple(column) for name, column in whole.items()})
        return {field: average({name: numeric(whole[name][field], name) for name in whole}, shares) for field in fields}
    return mean_of({name: batch.rows for name, batch in answers.items()}, shares)


def mean_of(columns: Mapping[str, list[Any]], weights: Weights) -> list[Any]:
    """Average columns of values, one a member."""
    first = next(iter(columns.values()))[0]
    if isinstance(first, Mapping | BaseModel):
        split = {name: fields_of(column, name) for name, column in columns.items()}
        names = same_fields({name: tuple(fields) for name, fields in split.items()})
        means = [mean_of({name: fields[field] for name, fields in split.items()}, weights) for field in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*means, strict=True)]
    total = average({name: numbers(column, name) for name, column in columns.items()}, weights)
    return list(total) if isinstance(first, np.ndarray) else list(total.tolist())


def average(columns: Mapping[str, np.ndarray], weights: Weights) -> np.ndarray:
    """Average arrays of one shape."""
    shapes = {name: column.shape[1:] for name, column in columns.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the predictions have different shapes: {shapes}")
    names = iter(columns)
    name = next(names)
    total = columns[name].astype(np.float64) * weights[name]
    for name in names:
        total += columns[name] * weights[name]
    total /= sum(weights[name] for name in columns)
    return total


def numbers(column: list[Any], member: str) -> np.ndarray:
    """Make an array of one member's predictions, which are all numbers or all arrays of one shape."""
    kinds = set(map(type, column))
    if kinds <= NUMBERS:
        return np.array(column, np.float64)
    if len(kinds) > 1:
        raise TypeError(f"{member} gave {' and '.join(sorted(kind.__name__ for kind in kinds))}; a mean needs one kind")
    return numeric(np.array(column), member)


def numeric(column: np.ndarray, member: str) -> np.ndarray:
    """Give an array of numbers as it is, and refuse any other."""
    if column.dtype.kind not in NUMERIC:
        example = type(column[0].item() if isinstance(column[0], np.generic) else column[0]).__name__
        raise TypeError(f"{member} gave {example}; a mean needs numbers, arrays, or dicts of them")
    return column


def fields_of(column: list[Any], member: str) -> dict[str, list[Any]]:
    """Give the fields of rows as columns."""
    first = column[0]
    if not isinstance(first, Mapping | BaseModel):
        raise TypeError(f"{member} gave {type(first).__name__}; a mean needs the same fields from every member")
    names = field_names(first)
    if isinstance(first, Mapping):
        same = all(isinstance(row, Mapping) and len(row) == len(names) for row in column)
    else:
        same = all(type(row) is type(first) for row in column)
    if not same:
        raise ValueError(f"{member} gave rows with different fields")
    read = getter(first)
    return {name: list(map(read(name), column)) for name in names}


def same_fields(fields: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Give the fields that all members have, in the order of the first; a `ValueError` when they differ."""
    first = next(iter(fields.values()))
    if any(set(names) != set(first) for names in fields.values()):
        told = "; ".join(f"{member}: {', '.join(names)}" for member, names in fields.items())
        raise ValueError(f"a mean needs the same fields from every member, got {told}")
    return first


def vote(answers: Answers, weights: Weights) -> Any:
    """Give what most members said; with a tie, what the earliest of them said."""
    columns = [batch.whole for batch in answers.values()]
    kinds = [[(name, array.dtype.kind, array.ndim) for name, array in (column or {}).items()] for column in columns]
    if (
        kinds[0]
        and kinds.count(kinds[0]) == len(kinds)
        and all(kind != "O" and ndim == 1 for _, kind, ndim in kinds[0])
    ):
        return vote_of_columns([column for column in columns if column is not None])
    return [elected(values) for values in zip(*(batch.rows for batch in answers.values()), strict=True)]


def vote_of_columns(columns: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Vote on the rows of whole columns: two rows are equal when all their fields are."""
    size, members = len(next(iter(columns[0].values()))), len(columns)
    votes = np.ones((members, size), int)
    for one in range(members):
        for other in range(one):
            same = np.logical_and.reduce([columns[one][field] == columns[other][field] for field in columns[one]])
            votes[one] += same
            votes[other] += same
    chosen = votes.argmax(0)
    places = np.arange(size)
    return {field: np.stack([column[field] for column in columns])[chosen, places] for field in columns[0]}


def elected(values: tuple[Any, ...]) -> Any:
    """Give the most frequent of some values; arrays are compared as wholes."""
    try:
        return max(values, key=values.count)
    except ValueError:  # the truth of an array
        same = [[equal(one, other) for other in values] for one in values]
        return values[max(range(len(values)), key=lambda place: sum(same[place]))]


def equal(one: Any, other: Any) -> bool:
    """Compare two predictions that may be, or hold, arrays."""
    if isinstance(one, BaseModel | Mapping) and type(one) is type(other):
        mine, its = dict(one), dict(other)
        return mine.keys() == its.keys() and all(equal(mine[name], its[name]) for name in mine)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(equal, one, other))
    return one is other or bool(np.array_equal(one, other))


COMBINERS: Mapping[str, Callable[[Answers, Weights], Any]] = {"mean": mean, "weighted": mean, "vote": vote}
