"""JSON lines: rows as JSON objects, their bodies as the JSON they are; and the sink that logs them."""

from __future__ import annotations

import json
import logging
import logging.config
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic_core import to_json

from hansang.errors import UsageError
from hansang.extras import require
from hansang.record.segment import FEEDBACK, PREDICTIONS
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

    Without a configuration the lines go to standard error; `config` is a file for `logging.config.dictConfig`. After a
    crash a line may come twice.
    """

    config: Path | None = None
    most_rows: int = 5_000

    def __enter__(self) -> Self:
        if self.config is not None:
            logging.config.dictConfig(read_config(self.config))
        elif not logging.getLogger(LOGGER).handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(message)s"))
            logging.getLogger(LOGGER).addHandler(handler)
            logging.getLogger(LOGGER).propagate = False
        for kind in (PREDICTIONS, FEEDBACK):
            if logging.getLogger(f"{LOGGER}.{kind}").level == logging.NOTSET:
                logging.getLogger(f"{LOGGER}.{kind}").setLevel(logging.INFO)
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


def read_config(path: Path) -> dict[str, Any]:
    """Read a logging configuration from YAML, TOML or JSON; raises `UsageError` when it is none."""
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else require("yaml", "").safe_load(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"the logging configuration {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"the logging configuration {path} is no table; see logging.config.dictConfig")
    return document


def sink(address: Address) -> LogSink:
    """Make the sink of `log:` or `log:?config=logging.yaml`."""
    config = known_options(address, "config").get("config")
    return LogSink(Path(config) if config else None)
