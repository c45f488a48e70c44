"""A batch as a message to another process of the same service, and the answers as a message back.

With the rows go their calls: id, row, request id, key, the time left, the header, tags and the trail. Calls of one
request share a header, and rows of one batch share their steps, so each is written once. What comes back is the
outcomes, the steps that were added, and what was written into keys and tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import ModelFailed
from hansang.peers.values import Packer, WireError
from hansang.peers.wire import read, write

HOPS = frozenset({"connection", "content-length", "content-type", "expect", "host", "keep-alive", "transfer-encoding"})
MARGIN = 0.01
MANY = 4
STEP = (str, str, str, str, int, float | int, bool)
step_values = attrgetter("node", "model", "version", "variant", "rows", "queue", "cached")


class Shared:
    """Writes each of some things once; the others point at it."""

    def __init__(self, pack: Callable[[Any], Any]) -> None:
        self.pack = pack
        self.places: dict[int, int] = {}
        self.things: list[Any] = []

    def place(self, thing: Any) -> int:
        """Give the place of a thing, written when it is new."""
        place = self.places.get(id(thing))
        if place is None:
            place = self.places[id(thing)] = len(self.things)
            self.things.append(self.pack(thing))
        return place


def write_request(batch: Batch, now: float) -> bytes:
    """Make the message that asks for the predictions of a batch; `now` is the time on the clock of the deadlines.

    Raises `WireError` for a row that cannot be sent.
    """
    return written(lambda packer: request(batch, now, packer))


def written(content: Callable[[Packer], dict[str, Any]]) -> bytes:
    """Make a message, the quick way unless there is a number that is not finite; raises `WireError`."""
    packer = Packer()
    try:
        return write(content(packer), packer)
    except ValueError:
        packer = Packer(finite=False)
    try:
        return write(content(packer), packer)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"the rows cannot be written: {error}") from error


def request(batch: Batch, now: float, packer: Packer) -> dict[str, Any]:
    """Give what `write_request` writes."""
    content: dict[str, Any] = {"rows": batch.size, "background": batch.background}
    write_rows(batch, content, packer)
    if batch.has_calls:
        headers, steps = Shared(travelling), Shared(step_values)
        content["calls"] = [
            [
                *(call.id, call.row, call.request_id, call.key),
                None if call.deadline is None else left(call.deadline - now),
                headers.place(call.headers),
                packer.pack(call.tags),
                [steps.place(step) for step in call.trail],
            ]
            for call in batch.calls
        ]
        content["headers"], content["steps"] = headers.things, steps.things
    else:
        content["trail"] = [step_values(step) for step in batch.steps]
    return content


def read_request(message: bytes, now: float) -> Batch:
    """Give the batch of a message, with calls of its own; raises `WireError`."""
    content = read(message)
    batch = read_rows(content)
    batch.background = content.get("background") is True
    try:
        if "calls" not in content:
            batch.steps = [read_step(step) for step in content.get("trail", ())]
            return batch
        headers, steps = content["headers"], [read_step(step) for step in content["steps"]]
        calls = [
            Call(id, row, None if time is None else now + time, headers[place], key, request_id, False, trail, tags)
            for id, row, request_id, key, time, place, tags, trail in (
                (*entry[:7], [steps[place] for place in entry[7]]) for entry in content["calls"]
            )
        ]
    except (TypeError, ValueError, LookupError) as error:
        raise WireError(f"the calls of the message cannot be read: {error}") from error
    if len(calls) != batch.size:
        raise WireError(f"the message has {len(calls)} calls for {batch.size} rows")
    rows = Batch(None if batch.whole else batch.rows, calls, columns=batch.whole, size=batch.size)
    rows.background = batch.background
    return rows


def write_answers(batch: Batch, answers: Batch, known: list[tuple[int, str | None, Any]]) -> bytes:
    """Make the message with the outcomes of a batch; `known` is what `facts` said before the rows were predicted.

    A prediction that cannot be sent is the failure of its row.
    """
    try:
        return written(lambda packer: outcomes(batch, answers, known, packer))
    except WireError:
        rest = Batch.of([sendable(row) for row in answers.rows])
    return written(lambda packer: outcomes(batch, rest, known, packer))


def outcomes(batch: Batch, answers: Batch, known: list[tuple[int, str | None, Any]], packer: Packer) -> dict[str, Any]:
    """Give what `write_answers` writes."""
    content: dict[str, Any] = {"rows": answers.size}
    write_rows(answers, content, packer)
    if not batch.has_calls:
        content["trail"] = [step_values(step) for step in batch.steps]
        return content
    steps = Shared(step_values)
    content["trails"] = [
        [steps.place(step) for step in call.trail[start:]]
        for call, (start, _, _) in zip(batch.calls, known, strict=True)
    ]
    content["steps"] = steps.things
    changes = [
        [place, call.key, packer.pack(call.tags)]
        for place, (call, (_, key, tags)) in enumerate(zip(batch.calls, known, strict=True))
        if call.key != key or call.tags is not tags
    ]
    if changes:
        content["changes"] = changes
    return content


def facts(batch: Batch) -> list[tuple[int, str | None, Any]]:
    """Note what the calls say before the rows are predicted: the length of the trail, the key and the tags."""
    return [(len(call.trail), call.key, call.tags) for call in batch.calls] if batch.has_calls else []


def read_answers(batch: Batch, message: bytes) -> Batch:
    """Give the outcomes of a message, and write what came with them into the calls; raises `WireError`."""
    content = read(message)
    answers = read_rows(content)
    if answers.size != batch.size:
        raise WireError(f"got {answers.size} outcomes for {batch.size} rows")
    try:
        if not batch.has_calls:
            batch.steps += [read_step(step) for step in content["trail"]][len(batch.steps) :]
        else:
            steps = [read_step(step) for step in content["steps"]]
            for call, places in zip(batch.calls, content["trails"], strict=True):
                call.trail += [steps[place] for place in places]
            for place, key, tags in content.get("changes", ()):
                batch.calls[place].key, batch.calls[place].tags = key, tags
    except (TypeError, ValueError, LookupError) as error:
        raise WireError(f"the trails of the message cannot be read: {error}") from error
    return batch.replace(answers)


def write_rows(batch: Batch, content: dict[str, Any], packer: Packer) -> None:
    """Write the rows; whole columns as columns, unless only this process can make rows of them."""
    if batch.whole and not batch.made:
        content["columns"] = {name: packer.pack(column) for name, column in batch.whole.items()}
    else:
        rows = batch.rows
        names = fields_of(rows)
        if names is None:
            content["values"] = packer.pack(rows)
        else:
            content["table"] = [names, [packer.column(column) for column in zip(*map(dict.values, rows), strict=True)]]


def fields_of(rows: list[Any]) -> list[str] | None:
    """Give the fields that all rows have, in one order, where they are dicts and enough to be a table."""
    if len(rows) < MANY or type(rows[0]) is not dict:
        return None
    names = list(rows[0])
    if not names or not {str}.issuperset(map(type, names)):
        return None
    return names if all(type(row) is dict and list(row) == names for row in rows) else None


def read_rows(content: Mapping[str, Any]) -> Batch:
    """Read what `write_rows` wrote."""
    columns, rows = content.get("columns"), content.get("values")
    if "table" in content:
        try:
            names, fields = content["table"]
            rows = [dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)]
        except (TypeError, ValueError) as error:
            raise WireError(f"the table of rows cannot be read: {error}") from error
    if isinstance(columns, dict) and all(isinstance(column, np.ndarray) and column.ndim for column in columns.values()):
        try:
            batch = Batch.of_columns(columns)
        except ValueError as error:
            raise WireError(str(error)) from error
    elif isinstance(rows, list):
        batch = Batch.of(rows)
    else:
        raise WireError("the message has no rows")
    if batch.size != content.get("rows"):
        raise WireError(f"the message says {content.get('rows')!r} rows and has {batch.size}")
    return batch


def read_step(values: Iterable[Any]) -> Step:
    """Read a step of a trail."""
    values = tuple(values)
    if len(values) != len(STEP) or not all(map(isinstance, values, STEP)):
        raise ValueError(f"{values} is not a step")
    return Step(*values)


def left(seconds: float) -> float:
    """Give what the other side may use of the time that is left, so that its answer is back in time."""
    return seconds - min(MARGIN, seconds / 10.0)


def travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """Leave out the fields that belong to the client's connection."""
    return {name: value for name, value in headers.items() if name not in HOPS}


def sendable(row: Any) -> Any:
    """Give an outcome, or the failure that it cannot be sent."""
    try:
        written(lambda packer: {"value": packer.pack(row)})
    except WireError as error:
        return ModelFailed(str(error))
    return row
