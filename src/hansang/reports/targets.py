"""The targets of a service: what the truth says, and which part of the answer says the same; found from the pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hansang.record.views import quoted

Task = Literal["regression", "labels", "binary"]
LOOKED_AT = 500
FEW_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One value that is predicted and told: by which metrics it is judged, and where it is in either body."""

    name: str
    task: Task
    predicted: tuple[str, ...]
    truth: tuple[str, ...]
    whole: bool  # both are the only number of their bodies, which the record has as a column

    @property
    def columns(self) -> tuple[str, str]:
        """The query's expressions for the prediction and the truth."""
        if self.whole:
            return "output_value", "truth_value"
        places = (f"output, {quoted(written(self.predicted))}", f"truth, {quoted(written(self.truth))}")
        if self.task == "labels":
            return f"json_extract_string({places[0]})", f"json_extract_string({places[1]})"
        numbers = [f"try_cast(json_extract_string({place}) AS DOUBLE)" for place in places]
        flag = f"CASE json_extract_string({places[1]}) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 ELSE {numbers[1]} END"
        return numbers[0], flag


def written(path: tuple[str, ...]) -> str:
    """Write a path as DuckDB does."""
    return "$" + "".join(f'."{key}"' for key in path)


def find_targets(connection: Any, relation: str) -> list[Target]:
    """Find what is predicted and told, from at most 500 rows with a truth; empty where the two have nothing alike."""
    sql = f"SELECT output, truth FROM {relation} WHERE json_valid(output) AND json_valid(truth) LIMIT {LOOKED_AT}"
    pairs = [(json.loads(output), json.loads(truth)) for output, truth in connection.execute(sql).fetchall()]
    predicted, told = (leaves([pair[side] for pair in pairs]) for side in (0, 1))
    targets = []
    for path, truths in told.items():
        found = partner(path, truths, predicted)
        if found is not None:
            task = judged_by(predicted[found], truths)
            whole = task != "labels" and all(len(numbers(side)) == 1 for side in (predicted, told))
            whole = whole and not any(isinstance(value, bool) for value in truths)
            targets.append(Target(".".join(path) or ".".join(found) or "prediction", task, found, path, whole))
    return targets


def leaves(bodies: list[Any]) -> dict[tuple[str, ...], list[Any]]:
    """Give the values of bodies by their paths; lists are no values that can be compared."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for body in bodies:
        for path, value in walk((), body):
            found.setdefault(path, []).append(value)
    return found


def walk(path: tuple[str, ...], body: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give the values of one body."""
    if isinstance(body, dict):
        for key, value in body.items():
            if '"' not in key:
                yield from walk((*path, key), value)
    elif body is not None and not isinstance(body, list):
        yield path, body


def numbers(found: dict[tuple[str, ...], list[Any]]) -> list[tuple[str, ...]]:
    """Give the paths that hold numbers."""
    return [path for path, values in found.items() if any(is_number(value) for value in values)]


def is_number(value: Any) -> bool:
    """Say whether a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def partner(
    path: tuple[str, ...], truths: list[Any], predicted: dict[tuple[str, ...], list[Any]]
) -> tuple[str, ...] | None:
    """Find where the answer says what the truth says: under the same name, or where alone it can be."""
    if path in predicted:
        return path
    alike = [place for place, values in predicted.items() if comparable(values, truths)]
    same_end = [place for place in alike if path and place[-1:] == path[-1:]]
    for places in (same_end, alike):
        if len(places) == 1:
            return places[0]
    return None


def comparable(values: list[Any], truths: list[Any]) -> bool:
    """Say whether an answer's values can be set against truths: of one kind, or a probability against yes and no."""
    kinds = {"number" if is_number(value) else type(value).__name__ for value in values}
    told = {"number" if is_number(value) else type(value).__name__ for value in truths}
    return bool(kinds & told) or (kinds == {"number"} and told == {"bool"})


def judged_by(values: list[Any], truths: list[Any]) -> Task:
    """Choose the metrics: probabilities of yes and no, labels, or numbers."""
    if all(is_number(value) for value in values):
        if {float(value) for value in truths if isinstance(value, int | float)} <= {0.0, 1.0} and all(
            0 <= value <= 1 for value in values
        ):
            return "binary" if any(value not in (0, 1) for value in values) else "labels"
        whole = all(isinstance(value, int) for value in (*values, *truths))
        if not whole or len({*values, *truths}) > FEW_CLASSES:
            return "regression"
    return "labels"
