"""JSON lines: rows as JSON objects, their bodies as the JSON they are; and the sink that logs them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pydantic_core import to_json

from hansang.record.sinks.address import Address, known_options
from hansang.record.sinks.sink import Parcel, words

BODIES = ("input", "output", "tags", "truth")
LOGGER = "hansang.records"


def json_lines(parcel: Parcel) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Give each row with its line of JSON, without the line's end."""
    for row in words(parcel.table()):
        bodies = b"".join([b',"%s":%s' % (name.encode(), body(row[name])) for name in BODIES if name in row])
        plain = {name: value for name, value in row.items() if name not in BODIES}
        yield row, to_json(plain, inf_nan_mode="null")[:-1] + bodies + b"}"


def body(text: str | None) -> bytes:
    """Give a body as it stands in a line: what is no JSON as a text, and no line breaks."""
    if text is None:
        return b"null"
    try:
        value = json.loads(text)
    except ValueError:
        return to_json(text)
    return to_json(value, inf_nan_mode="null") if "\n" in text or "\r" in text else text.encode()


@dataclass(slots=True)
class LogSink:
    """Logs each row as one line of JSON, to the loggers `hansang.records.predictions` and `hansang.records.feedback`.

    What becomes of the lines says the logging configuration, where `hansang.records` is one of the loggers; by default
    they go to standard error. After a crash a line may come twice.
    """

    most_rows: int = 5_000

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handler in logging.getLogger(LOGGER).handlers:
            handler.flush()

    def deliver(self, parcel: Parcel) -> None:
        """Log the rows; `extra` of each record has the row's columns under `row`."""
        logger = logging.getLogger(f"{LOGGER}.{parcel.kind}")
        for row, line in json_lines(parcel):
            logger.info("%s", line.decode(), extra={"row": row})


def sink(address: Address) -> LogSink:
    """Make the sink of `log:`."""
    known_options(address)
    return LogSink()
