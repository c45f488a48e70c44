"""What a body with feedback may hold, and what is wrong with one that does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError, from_json, to_json

from hansang.codec import finite, refused
from hansang.errors import InvalidRow, Problem
from hansang.record.feedback import NONE
from hansang.record.prediction_id import ID

MOST_SOURCE = 200
AHEAD = timedelta(minutes=1)


def prediction_id(text: str) -> str:
    """Check an id and give it in small letters."""
    text = text.lower()
    if not ID.fullmatch(text):
        raise PydanticCustomError("prediction_id", "Input should be an x-prediction-id, a UUID of version 7")
    return text


def past(moment: datetime) -> datetime:
    """Refuse a time to come: it would outlive every correction."""
    if moment > datetime.now(UTC) + AHEAD:
        raise PydanticCustomError("time_ahead", "Input should not be in the future")
    return moment


def only_numbers(value: Any) -> Any:
    """Refuse NaN and infinities, which have no JSON."""
    if not finite(value):
        raise PydanticCustomError("finite_number", "Input should hold finite numbers only")
    return value


class Truth(BaseModel):
    """What turned out to be true of one row of a prediction."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[StrictStr, AfterValidator(prediction_id)]
    row: Annotated[StrictInt, Field(ge=0, lt=2**31)] = 0
    truth: Annotated[Any, AfterValidator(only_numbers)] = None
    score: Annotated[StrictFloat | StrictInt, Field(allow_inf_nan=False)] | None = None
    source: Annotated[StrictStr, Field(max_length=MOST_SOURCE)] | None = None
    time: Annotated[AwareDatetime, AfterValidator(past)] | None = None


class UnnamedTruth(Truth):
    """Feedback whose id stands in the path."""

    id: str = ""


class Line(NamedTuple):
    """One row of feedback as it is written; `truth` is JSON, empty when only a score was given."""

    id: str
    row: int
    truth: bytes
    time: float
    score: float
    source: str | None


TRUTHS = TypeAdapter(list[Truth])
MANY_UNNAMED = TypeAdapter(list[UnnamedTruth])
Read = tuple[dict[int, Line], dict[int, Problem], bool]


def read_truths(body: bytes, id: str | None, most: int, limit: int) -> Read:
    """Read a body; gives the feedback and what is wrong with the other rows, by place, and whether it is an array.

    `limit` is for the bytes of a truth. Raises a `Problem` when the body as a whole cannot be read, or when it is not
    an array and wrong.
    """
    many = body.lstrip()[:1] == b"["
    if not many and id is None:
        raise InvalidRow("an array is needed here", errors=[fault([], "list_type", "Input should be an array")])
    faults: dict[int, Problem] = {}
    try:
        if many:
            truths: list[Any] = (TRUTHS if id is None else MANY_UNNAMED).validate_json(body)
        else:
            truths = [UnnamedTruth.model_validate_json(body)]
    except ValidationError as error:
        if not many or error.errors(include_input=False)[0]["type"] == "json_invalid":
            raise refused(error) from None
        truths = one_by_one(body, Truth if id is None else UnnamedTruth)
    if not 0 < len(truths) <= most:
        text = f"the array has {len(truths)} rows; send 1 to {most} at once"
        raise InvalidRow(text, errors=[fault([], "too_long" if truths else "too_short", text)])
    lines: dict[int, Line] = {}
    for place, truth in enumerate(truths):
        try:
            lines[place] = line_of(truth, id, limit)
        except InvalidRow as error:
            if not many:
                raise
            faults[place] = error
    return lines, faults, many


def one_by_one(body: bytes, kind: type[Truth]) -> list[Any]:
    """Read the rows of an array of which some are wrong; in their places stands what is wrong."""
    rows: list[Any] = []
    for row in from_json(body):
        try:
            rows.append(kind.model_validate(row))
        except ValidationError as error:
            rows.append(refused(error))
    return rows


def line_of(truth: Truth | Problem, id: str | None, limit: int) -> Line:
    """Give a row as it is written; raises `InvalidRow` when it says nothing, or too much."""
    if isinstance(truth, Problem):
        raise truth
    encoded = to_json(truth.truth) if "truth" in truth.model_fields_set else b""
    if not encoded and truth.score is None:
        raise InvalidRow("1 fault in the row", errors=[fault(["truth"], "missing", "Field required, or a score")])
    if len(encoded) > limit:
        text = f"Input has {len(encoded)} bytes of JSON; the limit is {limit}"
        raise InvalidRow("1 fault in the row", errors=[fault(["truth"], "too_long", text)])
    time = NONE if truth.time is None else truth.time.timestamp()
    return Line(id or truth.id, truth.row, encoded, time, NONE if truth.score is None else truth.score, truth.source)


def fault(loc: list[str | int], kind: str, text: str) -> dict[str, Any]:
    """Write one fault."""
    return {"loc": loc, "type": kind, "msg": text}
