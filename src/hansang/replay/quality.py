"""Which of two versions was nearer to the truth, on the rows whose truth is known to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic_core import from_json

from hansang.replay.flat import Flat, flat, is_number
from hansang.replay.sketch import Moments, rounded, wilson


@dataclass(slots=True)
class Quality:
    """The errors of both versions in one field; a difference below 0 says that the new version is better.

    Intervals are of 95 %: of means by Student's t on the pairs, of shares by Wilson. They take rows as independent, and
    are too narrow where neighbouring rows tell the same.
    """

    absolute: tuple[Moments, Moments, Moments] = field(default_factory=lambda: (Moments(), Moments(), Moments()))
    squared: tuple[Moments, Moments, Moments] = field(default_factory=lambda: (Moments(), Moments(), Moments()))
    wrong: tuple[int, int] = (0, 0)
    labels: Moments = field(default_factory=Moments)

    def add(self, leaves: Sequence[tuple[Any, Any, Any]]) -> None:
        """Take recorded, new and true values in."""
        numbers = [leaf for leaf in leaves if all(map(is_number, leaf))]
        if numbers:
            old, new, truth = np.array(numbers, float).T
            for moments, errors in (
                (self.absolute, (np.abs(old - truth), np.abs(new - truth))),
                (self.squared, ((old - truth) ** 2, (new - truth) ** 2)),
            ):
                for one, values in zip(moments, (*errors, errors[1] - errors[0]), strict=True):
                    one.add(values)
        named = [leaf for leaf in leaves if all(is_label(value) for value in leaf)]
        if named:
            wrong = np.array([(old != truth, new != truth) for old, new, truth in named], float)
            self.wrong = (self.wrong[0] + int(wrong[:, 0].sum()), self.wrong[1] + int(wrong[:, 1].sum()))
            self.labels.add(wrong[:, 1] - wrong[:, 0])

    def document(self) -> dict[str, Any]:
        """Give plain values: errors of numbers, and the share of wrong labels where all values can be labels."""
        found: dict[str, Any] = {}
        for name, moments in (("mean_absolute_error", self.absolute), ("mean_squared_error", self.squared)):
            if moments[0].count:
                found["pairs"] = moments[0].count
                found[name] = {
                    side: one.document() for side, one in zip(("recorded", "new", "difference"), moments, strict=True)
                }
        if count := self.labels.count:
            found["pairs"] = max(found.get("pairs", 0), count)
            found["wrong"] = {
                **{
                    side: {"mean": rounded(wrong / count), "interval": wilson(wrong, count)}
                    for side, wrong in zip(("recorded", "new"), self.wrong, strict=True)
                },
                "difference": self.labels.document(),
            }
        return found


def is_label(value: Any) -> bool:
    """Say whether a value can be a label: a text, a truth value or a whole number."""
    return isinstance(value, str | bool | int)


def truths(text: str, old: Flat, new: Flat) -> Flat:
    """Give the true values by field: of an object by its names, a bare truth for the only field of its kind."""
    try:
        truth = from_json(text)
    except ValueError:
        return {}
    if isinstance(truth, dict | list):
        known = flat(truth)
        return {name: value for name, value in known.items() if name in old and name in new}
    fits = [
        name
        for name, value in old.items()
        if name in new and (is_number(value) == is_number(truth) and isinstance(value, bool) == isinstance(truth, bool))
    ]
    return {fits[0]: truth} if len(fits) == 1 else {}
