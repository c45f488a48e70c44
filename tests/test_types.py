from __future__ import annotations

import base64
import hashlib
import io
import struct
import warnings
import zlib
from typing import Annotated, Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from hansang.types import File, Image, ImageLimits, sniff


class Photo(BaseModel):
    image: Image
    note: str = ""


def encoded(size: tuple[int, int] = (6, 4), kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.new(mode, size, 128 if mode == "L" else None).save(out, kind, **options)
    return out.getvalue()


def fault(value: Any, kind: Any = Image) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (found,) = caught.value.errors()
    return found["type"], found["msg"]


def png_header(width: int, height: int) -> bytes:
    """Make a PNG that says it has this size and has almost no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_is_known_by_its_content_and_decoded_to_rgb(kind: str) -> None:
    data = encoded(kind=kind, mode="L")
    picture = Photo(image=data).image
    assert sniff(data) == f"image/{kind.lower()}"
    assert picture.size == (6, 4) and picture.mode == "RGB"


def test_a_picture_may_be_base64_text() -> None:
    text = base64.b64encode(encoded()).decode()
    assert Photo.model_validate_json(f'{{"image": "{text}"}}').image.size == (6, 4)


def test_a_decoded_picture_is_taken_as_it_is() -> None:
    picture = PIL.Image.new("L", (2, 2))
    assert Photo(image=picture).image is picture


def test_the_mode_and_the_limits_stand_beside_the_type() -> None:
    gray = Annotated[Image, ImageLimits(mode="L", pixels=24)]
    assert TypeAdapter(gray).validate_python(encoded()).mode == "L"
    assert fault(encoded((5, 5)), gray)[0] == "image_pixels"
    assert TypeAdapter(Annotated[Image, ImageLimits(mode=None)]).validate_python(encoded(mode="RGBA")).mode == "RGBA"


def test_a_file_that_is_too_large_is_refused_by_its_size() -> None:
    assert fault(encoded(), Annotated[Image, ImageLimits(size=20)]) == (
        "image_too_large",
        f"the file has {len(encoded())} bytes; the limit is 20",
    )


def test_a_file_that_is_no_picture_is_refused_whatever_it_is_called() -> None:
    kind, text = fault(b"<svg/>")
    assert kind == "image_type" and text.startswith("the file is not a picture of these types: image/jpeg, image/png")
    only_png = Annotated[Image, ImageLimits(formats=("image/png",))]
    assert fault(encoded(kind="GIF"), only_png) == (
        "image_type",
        "the file is not a picture of these types: image/png",
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((8000, 8000), "the picture has 8000 x 8000 pixels; the limit is 40000000 in all"),
        ((60000, 60000), "the picture has too many pixels; the limit is 40000000 in all"),
    ],
)
def test_a_decompression_bomb_is_refused_without_decoding(
    size: tuple[int, int], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert fault(png_header(*size)) == ("image_pixels", text)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_picture_that_was_cut_off_is_broken(kind: str, share: float) -> None:
    data = encoded((64, 64), kind)
    assert fault(data[: int(len(data) * share)]) == ("image_broken", "the picture cannot be decoded")


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_any_damage_gives_a_picture_or_a_fault_and_nothing_else(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded((16, 16), kind))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(12, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            Photo(image=bytes(damaged))
        except ValidationError as error:
            assert error.errors()[0]["type"] in ("image_broken", "image_pixels")


@pytest.mark.parametrize(("orientation", "size"), [(1, (6, 4)), (3, (6, 4)), (6, (4, 6)), (8, (4, 6))])
def test_the_exif_orientation_is_applied(orientation: int, size: tuple[int, int]) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    picture = Photo(image=encoded(kind="JPEG", exif=exif)).image
    assert picture.size == size and picture.getexif().get(0x0112, 1) == 1


def test_the_record_gets_the_hash_and_never_the_bytes() -> None:
    data = encoded()
    expected = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "media_type": "image/png"}
    assert Photo(image=data).model_dump(mode="json") == {"image": expected, "note": ""}
    assert TypeAdapter(File).dump_python(b"abc", mode="json") == {
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "bytes": 3,
    }
    assert Photo(image=PIL.Image.new("L", (1, 1))).model_dump(mode="json")["image"] == {"omitted": "Image"}


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), "YWJj"])
def test_a_file_is_bytes_or_base64_text(value: Any) -> None:
    assert TypeAdapter(File).validate_python(value) == b"abc"


@pytest.mark.parametrize(
    ("value", "kind"),
    [("not base64!", "base64_invalid"), ("ÿÿ", "base64_invalid"), (7, "upload_type"), (None, "upload_type")],
)
@pytest.mark.parametrize("field", [File, Image])
def test_what_is_no_upload_is_a_fault(value: Any, kind: str, field: Any) -> None:
    assert fault(value, field)[0] == kind


def test_uploads_are_described_as_files() -> None:
    described = Photo.model_json_schema()["properties"]["image"]
    assert described["format"] == "binary" and "image/png" in described["contentMediaType"]
    assert described["x-hansang-upload"] is True
    assert TypeAdapter(File).json_schema()["contentMediaType"] == "any"
