"""Requests that go through ASGI: what is logged while they are answered names them, and each has its access line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hansang.call import trace_id
from hansang.logs.access import Answered
from hansang.logs.whose import around
from hansang.server.ids import new_ids

if TYPE_CHECKING:
    from hansang.server.serving import Serving

LONGEST_ID = 200
NO_ANSWER = 499  # as nginx has it: the client left


class Visit:
    """A request as log lines know it; its id is made when it is first asked for, if the client gave none."""

    span = None

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.started = time.monotonic()
        self.status = NO_ANSWER
        self.size = 0

    @cached_property
    def headers(self) -> dict[str, str]:
        """The two fields of the header that say whose request it is."""
        names = (b"x-request-id", b"traceparent")
        return {name.decode(): value.decode("latin-1") for name, value in self.scope["headers"] if name in names}

    @property
    def request_id(self) -> str | None:
        """The id that the client gave."""
        return self.headers.get("x-request-id", "")[:LONGEST_ID] or None

    @cached_property
    def id(self) -> str:
        """The id that it has here."""
        return new_ids(1)[0]

    @property
    def trace_id(self) -> str:
        """The id of its trace."""
        return trace_id(self.headers)

    def answered(self) -> Answered:
        """Give its line of the access log."""
        client = self.scope.get("client")
        return Answered(
            f"{client[0]}:{client[1]}" if client else "",
            self.scope["method"],
            self.scope["path"],
            self.status,
            self.size,
            time.monotonic() - self.started,
            self.request_id or self.id,
            self.trace_id,
            time.time(),
        )


class Visits:
    """Stands around the whole application in Hansang's own server, also around middleware of the user's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = Visit(scope)
        around.set(visit)  # the task that runs is the request's own
        serving: Serving | None = getattr(self.app.state, "serving", None)
        access = serving.access if serving is not None else None
        if access is None:
            await self.app(scope, receive, send)
            return

        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
            elif message["type"] == "http.response.body":
                visit.size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            access.note(visit.answered())


def visit_id() -> str:
    """Give the id of the request that is being answered; empty under a server other than Hansang's own."""
    visit = around.get()
    return visit.id if isinstance(visit, Visit) else ""
