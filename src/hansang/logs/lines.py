"""What a log line looks like, as text and as JSON, and the filter that tells whose request it is about."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from pydantic_core import to_json

from hansang.logs.whose import MOST, callers, request_ids, trace_ids

PLAIN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
OURS = frozenset({"request_id", "request_ids", "requests", "trace_id", "trace_ids"})


class Requests(logging.Filter):
    """Writes onto a record whose request it is about, and which of Hansang's processes logs it.

    `request_id` and `trace_id` are texts: empty outside of requests, with commas between them when a batch has the rows
    of several. `request_ids` and `trace_ids` are the same as tuples of at most 32, `requests` counts them all. What
    `extra` says of a request stands. `processName` is the role of the process. It lets every record pass.
    """

    def __init__(self, role: str = "server") -> None:
        super().__init__()
        self.role = role

    def filter(self, record: logging.LogRecord) -> bool:
        """Note whose record it is."""
        if hasattr(record, "requests"):
            return True
        record.processName = self.role
        calls = callers()
        ids, traces = (request_ids(calls), trace_ids(calls)) if calls else ([], [])
        ids, traces = given(record, "request_id", ids), given(record, "trace_id", traces)
        record.requests = len(ids)
        record.request_ids, record.trace_ids = tuple(ids[:MOST]), tuple(traces[:MOST])
        record.request_id, record.trace_id = ",".join(ids[:MOST]), ",".join(traces[:MOST])
        return True


def given(record: logging.LogRecord, name: str, found: list[str]) -> list[str]:
    """Give what the line itself says of its request, else what was found."""
    said = vars(record).get(name)
    return found if said is None else [str(said)] if said else []


class Text(logging.Formatter):
    """One line an event for people; a traceback follows on lines of its own."""

    def __init__(self, format: str = "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s") -> None:
        super().__init__(format)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Add whose request it is about."""
        text = super().formatMessage(record)
        more = getattr(record, "requests", 0) - MOST
        if id := getattr(record, "request_id", ""):
            text += f" request={id}" + (f" and {more} more" if more > 0 else "")
        if trace := getattr(record, "trace_id", ""):
            text += f" trace={trace}"
        return text


class Json(logging.Formatter):
    """One JSON object a line, for programs: the time in UTC, and whatever `extra` adds as fields of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON; values that JSON has not become texts."""
        document: dict[str, Any] = {
            "time": self.moment(record.created),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "pid": record.process,
            "message": record.getMessage(),
        }
        facts = vars(record)
        for one, many in (("request_id", "request_ids"), ("trace_id", "trace_ids")):
            if len(ids := facts.get(many, ())) > 1:
                document[many] = ids
            elif facts.get(one):
                document[one] = facts[one]
        if facts.get("requests", 0) > 1:
            document["requests"] = facts["requests"]
        if len(facts) > len(PLAIN):
            document |= {name: facts[name] for name in facts.keys() - PLAIN - OURS if name not in document}
        if record.exc_info and record.exc_info[0] is not None:
            document["error"] = record.exc_info[0].__name__
            document["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        try:
            return to_json(document, fallback=str, inf_nan_mode="null").decode()
        except Exception:  # a lone surrogate, or a __str__ that raises: the line must still come
            return json.dumps(document, default=repr, skipkeys=True)

    def moment(self, created: float) -> str:
        """Give a time as RFC 3339 has it, with milliseconds."""
        second = int(created)
        if second != self._second[0]:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{int((created - second) * 1000):03d}Z"
