"""Field types beyond JSON: uploaded files and images, checked before they are decoded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from hansang.extras import require

SIGNATURES = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/bmp": (b"BM",),
    "image/tiff": (b"II*\x00", b"MM\x00*"),
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an uploaded picture may be; put it beside the type: `Annotated[Image, ImageLimits(pixels=1_000_000)]`.

    `mode` is the Pillow mode that the picture is converted to (`None` leaves it).
    """

    size: int = 10 * 1024 * 1024
    pixels: int = 40_000_000
    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff")
    mode: str | None = "RGB"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return picture_schema(self)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return upload_json_schema(", ".join(self.formats))


class _Upload:
    """Marks a field as a file, so that the route takes multipart bodies."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            read_upload,
            serialization=core_schema.plain_serializer_function_ser_schema(written, info_arg=True, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return upload_json_schema("any")


def upload_json_schema(media: str) -> JsonSchemaValue:
    """Describe an upload: a file in a form, base64 in JSON."""
    return {"type": "string", "format": "binary", "contentMediaType": media, "x-hansang-upload": True}


def picture_schema(limits: ImageLimits) -> core_schema.CoreSchema:
    """Give the schema that turns uploaded bytes, or base64 text, into a decoded picture."""

    def read(value: Any) -> Any:
        return decode_image(value, limits)

    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.plain_serializer_function_ser_schema(written, info_arg=True, when_used="json")
    )


def read_upload(value: Any) -> bytes:
    """Take bytes as they are and base64 text decoded."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise PydanticCustomError("base64_invalid", "the text is not base64") from error
    raise PydanticCustomError("upload_type", "expected a file, or base64 text in JSON")


def sniff(data: bytes) -> str | None:
    """Name the media type of a picture by its first bytes, whatever its name says."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media for media, starts in SIGNATURES.items() if data.startswith(starts)), None)


def decode_image(value: Any, limits: ImageLimits) -> Any:
    """Decode a picture once, safely: type by content, size and pixel limits before decoding, EXIF orientation applied.

    Raises a pydantic error that becomes a 422 with the field's place.
    """
    pillow = require("PIL.Image", "image", "an Image field")
    if isinstance(value, pillow.Image):
        return value
    data = read_upload(value)
    if len(data) > limits.size:
        raise PydanticCustomError(
            "image_too_large",
            "the file has {got} bytes; the limit is {limit}",
            {"got": len(data), "limit": limits.size},
        )
    media = sniff(data)
    if media is None or media not in limits.formats:
        allowed = ", ".join(limits.formats)
        raise PydanticCustomError(
            "image_type", "the file is not a picture of these types: {allowed}", {"allowed": allowed}
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs and of odd metadata; the limits refuse the former
            result = decode(data, media, limits)
    except PydanticCustomError:
        raise
    except pillow.DecompressionBombError as error:
        raise too_many_pixels("too many", limits) from error
    except Exception as error:  # Pillow's decoders raise anything from OSError to SyntaxError on broken files
        raise PydanticCustomError("image_broken", "the picture cannot be decoded") from error
    result.info["hansang_upload"] = Upload(data)
    result.info["hansang"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "media_type": media}
    return result


def decode(data: bytes, media: str, limits: ImageLimits) -> Any:
    """Decode a picture of a known type, its size seen first, turned and converted."""
    picture = require("PIL.Image", "image").open(io.BytesIO(data), formats=[media.split("/")[1].upper()])
    if picture.width * picture.height > limits.pixels:
        raise too_many_pixels(f"{picture.width} x {picture.height}", limits)
    turned = require("PIL.ImageOps", "image").exif_transpose(picture)
    result = turned.convert(limits.mode) if limits.mode else turned
    result.load()
    return result


def too_many_pixels(pixels: str, limits: ImageLimits) -> PydanticCustomError:
    """Make the error of a picture that would be too large in memory."""
    return PydanticCustomError(
        "image_pixels",
        "the picture has {pixels} pixels; the limit is {limit} in all",
        {"pixels": pixels, "limit": limits.pixels},
    )


class Upload:
    """The file that a picture was decoded from; being no dataclass, it does not go to another process with it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Upload({len(self.data)} bytes)"


def written(value: Any, info: SerializationInfo) -> dict[str, Any]:
    """Describe an upload for the record; its bytes go into the `payloads` of the context, if there are any."""
    described = reference(value)
    payloads = (info.context or {}).get("payloads")
    if payloads is not None and "sha256" in described:
        upload = value if isinstance(value, bytes) else getattr(value, "info", {}).get("hansang_upload")
        if upload is not None:
            payloads[described["sha256"]] = upload if isinstance(upload, bytes) else upload.data
    return described


def reference(value: Any) -> dict[str, Any]:
    """Describe an upload for the record: its hash and size, never its bytes."""
    info = getattr(value, "info", {}).get("hansang")
    if info is not None:
        return dict(info)
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)}
    return {"omitted": type(value).__name__}


Image = Annotated[Any, ImageLimits()]
"""A picture, decoded to a `PIL.Image.Image` in RGB: a file in a multipart form, or base64 text in JSON."""

File = Annotated[bytes, _Upload()]
"""Any file's bytes: a file in a multipart form, or base64 text in JSON."""
