"""Rows from requests that do not take the fast path: forms, files, and FastAPI's annotations."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Request, params
from pydantic import BaseModel, ValidationError, create_model
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from hansang.codec import Codec, refused
from hansang.errors import BadRequest, InvalidRow, MissingExtra, Problem, TooLarge, UnsupportedMedia
from hansang.server.turn import Turn

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def read_rows(request: Request, turn: Turn) -> tuple[list[Any], bool, bytes | None]:
    """Read the rows of a request; gives them, whether they are an array, and the body if it may be recorded as it is.

    Raises a `Problem` that says what cannot be read.
    """
    codec, settings = turn.codec, turn.serving.settings
    media = request.headers.get("content-type", "application/json")
    kind, _, parameters = media.lower().partition(";")
    kind, parameters = kind.strip(), parameters.strip()
    if kind in FORMS and codec.uploads:
        return await read_form(request, codec)
    body = await read_body(request, settings.max_body)
    if codec.uploads and (kind.startswith("image/") or kind == "application/octet-stream"):
        return [await asyncio.to_thread(codec.values, {codec.uploads[0]: body})], False, None
    if not (kind == "application/json" or kind.endswith("+json")):
        accepted = "application/json" + (" or multipart/form-data" if codec.uploads else "")
        raise UnsupportedMedia(f"this content type is not read here; send {accepted}")
    charset = parameters.removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8", "utf8") or request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("send the body uncompressed and in UTF-8")
    read: Callable[[bytes], Any] = codec.array if body.lstrip()[:1] == b"[" else codec.one
    rows = await asyncio.to_thread(read, body) if codec.uploads else read(body)
    many = read == codec.array
    return (rows if many else [rows]), many, (body if codec.closed and not many else None)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a body within its limit."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def read_form(request: Request, codec: Codec) -> tuple[list[Any], bool, None]:
    """Read a form: several files in one field are several rows, which share the other fields."""
    try:
        async with request.form(max_files=1000, max_fields=1000) as form:
            values = {key: value for key, value in form.items() if key not in codec.uploads}
            files = await read_files(form, codec.uploads)
    except AssertionError as error:  # Starlette asserts that python-multipart is there
        raise MissingExtra('a form needs the package python-multipart: pip install "hansang[image]"') from error
    except MultiPartException as error:
        raise BadRequest(f"the form cannot be read: {error.message}") from error
    count = max((len(parts) for parts in files.values()), default=0)
    if count == 0:
        raise missing(codec.uploads[0])
    rows: list[Any] = []
    for number in range(count):
        row = values | {name: parts[number] for name, parts in files.items() if number < len(parts)}
        try:
            rows.append(await asyncio.to_thread(codec.values, row))
        except Problem as error:
            rows.append(error)
    if count == 1 and isinstance(rows[0], Problem):
        raise rows[0]
    return rows, count > 1, None


async def read_files(form: FormData, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Read the files of a form by field."""
    files: dict[str, list[Any]] = {}
    for name in names:
        parts = [await part.read() if isinstance(part, UploadFile) else part for part in form.getlist(name)]
        if parts:
            files[name] = parts
    return files


def missing(name: str) -> InvalidRow:
    """Say that a file is missing."""
    return InvalidRow("1 fault in the row", errors=[{"loc": [name], "type": "missing", "msg": "Field required"}])


# --- FastAPI's annotations ---


def as_dependency(input: Any) -> Callable[..., Any]:
    """Give the function by which FastAPI makes a row of a request.

    A function is one already. Of a pydantic model, each field whose annotation carries `Path`, `Query`, `Header`,
    `Cookie`, `Form` or `File` is read from there, and the others are the JSON body.
    """
    if not inspect.isclass(input):
        return typing.cast(Callable[..., Any], input)
    model = typing.cast(type[BaseModel], input)
    hints = typing.get_type_hints(model, include_extras=True)
    body_fields: dict[str, Any] = {}
    parameters = []
    for name, info in model.model_fields.items():
        if any(isinstance(mark, params.Param | params.Body) for mark in getattr(hints[name], "__metadata__", ())):
            default = inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True)
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[name], default=default)
            )
        else:
            body_fields[name] = (hints[name], info)
    if body_fields:
        body: Any = create_model(f"{model.__name__}Body", **body_fields)
        annotation = Annotated[body, params.Body()]
        parameters.append(inspect.Parameter("_body", inspect.Parameter.KEYWORD_ONLY, annotation=annotation))
    return with_signature(model, parameters)


def with_signature(model: type[BaseModel], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """Make a function with these parameters that builds a row of them."""

    def make(**values: Any) -> Any:
        body = values.pop("_body", None)
        if body is not None:
            values |= {name: getattr(body, name) for name in type(body).model_fields}
        try:
            return model.model_validate(values, by_name=True, by_alias=True)  # a mark's alias is the field's too
        except ValidationError as error:
            raise refused(error) from None

    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # FastAPI reads it
    return make
