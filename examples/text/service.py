"""What a review thinks: tokens, then a sentence encoder, then a classifier; the int8 encoder runs as a shadow.

    python examples/text/make_models.py          # once: writes the models to .hansang/text
    hansang serve examples/text/service.py
    curl --json '{"text": "The plot is thin, but I laughed all the way."}' http://127.0.0.1:8000/predict

The microservice vertical: each node's output is the next one's input. The quantized encoder is a quarter of the size
and more than twice as quick; whether it may take over is in the record, where its answers stand beside the live ones.
"""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field
from tokens import Tokens

from hansang import Batch, Model, Service, UsageError, cached, node, shadow

FOLDER = Path(os.environ.get("TEXT_MODELS", ".hansang/text"))
if not (FOLDER / "opinion.onnx").exists():
    raise UsageError(f"no models in {FOLDER}; make them once: python examples/text/make_models.py")
TOKENS = Tokens(FOLDER / "tokenizer.json")


class Review(BaseModel):
    """A review, or a sentence of one, in English."""

    text: str = Field(min_length=1, max_length=5000, examples=["The plot is thin, but I laughed all the way."])


class Opinion(BaseModel):
    """What the review thinks of what it is about."""

    opinion: Literal["positive", "negative"] = Field(examples=["positive"])
    positive: float = Field(ge=0, le=1, description="Probability that it is positive.", examples=[0.93])


@node.each
def tokens(review: Review) -> dict[str, Any]:
    return TOKENS.row(review.text)


@node
def embedding(batch: Batch) -> list[dict[str, np.ndarray]]:
    return [{"embedding": np.asarray(row["embedding"], np.float32)} for row in batch.rows]


@node.each
def opinion(prediction: dict[str, Any]) -> Opinion:
    positive = float(prediction["probabilities"][1])
    return Opinion(opinion="positive" if positive >= 0.5 else "negative", positive=positive)


def reads(encoder: str) -> Any:
    """An encoder with the classifier behind it."""
    return (
        Model(FOLDER / f"{encoder}.onnx", name=encoder)
        >> embedding
        >> Model(FOLDER / "opinion.onnx", name="opinion")
        >> opinion
    )


service = Service(
    "reviews",
    cached(tokens >> shadow(reads("minilm"), reads("minilm-int8")), ttl=3600),
    input=Review,
    output=Opinion,
    deadline=2.0,
    description="Whether a review is positive or negative.",
    owner="examples",
)
