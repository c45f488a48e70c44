"""Everything Hansang raises, and the one function that turns an error into an HTTP body.

HansangError                     every error of Hansang
├── UsageError                   the project, a setting or a file is wrong: said at start, exit status 2
│   ├── SettingsError            a setting has a wrong value
│   ├── SchemaError              schemas that do not fit each other or the model
│   ├── MissingExtra             an optional package is not installed
│   └── ModelError               a model cannot be found, read or trusted
│       ├── ModelNotFound
│       ├── RegistryUnavailable
│       └── UntrustedModel
├── RecordError                  the prediction record cannot be written or read
├── JobsError                    the store of jobs cannot be written or read
└── Problem                      a request or a row has no prediction; a problem document tells the client
    ├── BadRequest          400  the body cannot be read
    ├── Forbidden           403
    ├── NotFound            404
    ├── MethodNotAllowed    405
    ├── RequestTimeout      408  the body came too slowly
    ├── TooLarge            413
    ├── UnsupportedMedia    415
    ├── InvalidRow          422  the row does not fit the schema
    ├── TooManyRequests     429
    ├── HeadersTooLarge     431
    ├── CallerLeft          499  nobody is waiting any more; recorded, never sent
    ├── ModelFailed         500  the model or a node failed; its text stays in the log
    │   └── WrongRows       500  not one prediction a row, in the order of the rows
    ├── Overloaded          503  a queue is full
    ├── Unavailable         503  starting or draining
    └── DeadlineExceeded    504

Raise a subclass of `Problem` of your own, with `status` and `title`, and its text reaches the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from pydantic_core import to_json


class HansangError(Exception):
    """Every error of Hansang."""


class UsageError(HansangError):
    """The project, a setting or a file is wrong; found at start, before the first request."""


class SettingsError(UsageError):
    """A setting has a wrong value."""


class SchemaError(UsageError):
    """Schemas do not fit each other, or do not fit the model."""


class MissingExtra(UsageError):
    """An optional package is not installed; the text names the install command."""


class ModelError(UsageError):
    """A model cannot be found, read or trusted."""


class ModelNotFound(ModelError):
    """No such model, version, alias or file."""


class RegistryUnavailable(ModelError):
    """The model registry does not answer, or its schema is not the expected one."""


class UntrustedModel(ModelError):
    """Loading this format can run code, and nobody said that this model is trusted."""


class RecordError(HansangError):
    """The prediction record cannot be written or read."""


class JobsError(HansangError):
    """The store of jobs cannot be written or read."""


class Problem(HansangError):
    """A request or a row has no prediction.

    Subclass it with `status` and `title` to send your own errors to the client. `public` says whether the text
    may leave the process; the text of a private problem goes to the log only. `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = ""
    public: ClassVar[bool] = True
    type: ClassVar[str] = "about:blank"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: list[dict[str, Any]] | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.headers = headers or {}


class BadRequest(Problem):
    """The body cannot be read."""

    status = 400


class Forbidden(Problem):
    """The request may not do this."""

    status = 403


class NotFound(Problem):
    """Nothing lives at this address."""

    status = 404


class MethodNotAllowed(Problem):
    """The address does not answer this method."""

    status = 405


class RequestTimeout(Problem):
    """The body came too slowly."""

    status = 408


class TooLarge(Problem):
    """The body, or a file in it, is larger than the limit."""

    status = 413


class UnsupportedMedia(Problem):
    """The body's content type is not one that this address reads."""

    status = 415


class InvalidRow(Problem):
    """The row does not fit the schema; `errors` holds `loc`, `type` and `msg` of each fault."""

    status = 422


class TooManyRequests(Problem):
    """A limit on the rate of requests is reached."""

    status = 429


class HeadersTooLarge(Problem):
    """The request's header is larger than the limit."""

    status = 431


class CallerLeft(Problem):
    """Nobody is waiting for this row any more; it was dropped before the model ran."""

    status = 499
    title = "Client Closed Request"


class ModelFailed(Problem):
    """The model or a node failed; the text stays in the log, next to the request id."""

    status = 500
    public = False


class WrongRows(ModelFailed):
    """A model or a node did not give one prediction a row, in the order of the rows."""


class Overloaded(Problem):
    """A queue is full; try again after `retry_after` seconds."""

    status = 503


class Unavailable(Problem):
    """The service is starting or draining."""

    status = 503


class DeadlineExceeded(Problem):
    """The row's deadline has passed or cannot be met."""

    status = 504


def title(status: int) -> str:
    """Name an HTTP status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(error: BaseException, request_id: str, *, row: int | None = None) -> dict[str, Any]:
    """Turn any error into a problem document (RFC 9457); an array's row number goes first in each `loc`.

    The text of an error that is not a public `Problem` never leaves the process.
    """
    if isinstance(error, Problem):
        status, detail, errors = error.status, error.detail if error.public else "", error.errors
        name, kind = error.title or title(error.status), error.type
    else:
        status, detail, errors = 500, "", None
        name, kind = title(500), "about:blank"
    if status >= 500 and not detail:
        detail = "the model failed; the log has the cause under this request_id"
    document: dict[str, Any] = {"type": kind, "title": name, "status": status, "detail": detail}
    document["request_id"] = request_id
    if errors is not None:
        document["errors"] = errors if row is None else [{**e, "loc": [row, *e["loc"]]} for e in errors]
    return document


def problem_body(error: BaseException, request_id: str) -> bytes:
    """Encode an error as the body of an `application/problem+json` answer."""
    return to_json(problem(error, request_id))


def status_of(error: BaseException) -> int:
    """Give the HTTP status of any error."""
    return error.status if isinstance(error, Problem) else 500
