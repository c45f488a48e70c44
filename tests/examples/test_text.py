"""The example `text`: a real sentence encoder, its int8 form as the shadow, and a classifier behind it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest

from hansang.record.read import connect
from tests.examples.serving import HANSANG, ROOT, environment, run, served

EXAMPLE = ROOT / "examples" / "text"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the models in a project folder, once."""
    folder = tmp_path_factory.mktemp("text")
    command = [sys.executable, str(EXAMPLE / "make_models.py")]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.partition("accuracy ")[2].split()[0])
    assert accuracy > 0.75, done.stdout
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with served(EXAMPLE / "service.py", cwd=folder) as client:
        yield client


def embeddings(folder: Path, name: str, texts: list[str]) -> np.ndarray:
    sys.path.insert(0, str(EXAMPLE))
    try:
        from tokens import Tokens  # type: ignore[import-not-found]  # it stands beside the example
    finally:
        sys.path.remove(str(EXAMPLE))
    models = folder / ".hansang" / "text"
    arrays = Tokens(models / "tokenizer.json").batch(texts)
    found: np.ndarray = onnxruntime.InferenceSession(models / f"{name}.onnx").run(None, arrays)[0]
    return found


def test_the_encoder_puts_like_sentences_together_and_gives_unit_vectors(folder: Path) -> None:
    texts = ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The stock market fell today."]
    found = embeddings(folder, "minilm", texts)
    likeness = found @ found.T
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert likeness[0, 1] > 0.5 > likeness[0, 2] + 0.2


def test_padding_does_not_change_what_a_text_means(folder: Path) -> None:
    short, long = "Fine.", "It took me a while to warm up to it, but by the end of the second hour I was won over."
    alone, together = embeddings(folder, "minilm", [short]), embeddings(folder, "minilm", [short, long])
    assert np.allclose(alone[0], together[0], atol=1e-5)


def test_the_int8_encoder_is_a_quarter_of_the_size_and_close(folder: Path) -> None:
    models = folder / ".hansang" / "text"
    assert (models / "minilm-int8.onnx").stat().st_size < 0.3 * (models / "minilm.onnx").stat().st_size
    texts = ["I loved every minute.", "A waste of money."]
    full, small = embeddings(folder, "minilm", texts), embeddings(folder, "minilm-int8", texts)
    assert ((full * small).sum(axis=1) > 0.9).all()


def test_a_review_is_judged_and_its_repetition_comes_from_the_cache(client: httpx.Client) -> None:
    good = client.post("/predict", json={"text": "Wonderful picture quality, I love this camera."})
    assert good.json()["opinion"] == "positive"
    bad = client.post("/predict", json={"text": "It broke after two days and support never answered. Awful."})
    assert bad.json()["opinion"] == "negative"
    again = client.post("/predict", json={"text": "Wonderful picture quality, I love this camera."})
    assert again.headers["x-cache"] == "hit"
    assert again.content == good.content
    assert again.headers["x-model-version"] == good.headers["x-model-version"]


def test_the_int8_encoder_stands_beside_the_live_one_in_the_record(folder: Path) -> None:
    with served(EXAMPLE / "service.py", cwd=folder) as client:
        answers = [client.post("/predict", json={"text": f"The {n}th film was a pleasant surprise."}) for n in range(5)]
        ids = [answer.headers["x-prediction-id"] for answer in answers]
    with connect(folder / ".hansang" / "records") as database:
        pairs = database.execute(
            "SELECT live.output, beside.output FROM predictions live JOIN predictions beside USING (id, row) "
            "WHERE live.role = 'live' AND beside.role = 'shadow' AND list_contains(?, live.id)",
            [ids],
        ).fetchall()
    assert len(pairs) == 5
    assert all('"opinion":' in output for pair in pairs for output in pair)


@pytest.mark.parametrize(("body", "kind"), [({"text": ""}, "string_too_short"), ({}, "missing")])
def test_a_review_without_a_text_is_refused(client: httpx.Client, body: dict[str, str], kind: str) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == kind


def test_without_its_models_the_service_says_how_to_make_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hansang.cli", "serve", str(EXAMPLE / "service.py")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "make them once: python examples/text/make_models.py" in done.stderr


def test_the_classifier_is_registered_with_all_that_serving_asks_for(folder: Path) -> None:
    assert "registered: models:/opinion@champion, version 1" in run(sys.executable, EXAMPLE / "train.py", cwd=folder)
    checks = json.loads(run(HANSANG, "models", "verify", "opinion", "--json", cwd=folder))["checks"]
    passed = {each["check"]: each["said"] for each in checks if each["passed"]}
    assert passed == {
        "load": "by onnx",
        "input example": "2 rows answered",
        "golden requests": "8 answered as expected",
    }
    found = json.loads(run(HANSANG, "models", "show", "opinion", "--json", cwd=folder))["run"]
    assert found["metrics"]["accuracy"] > 0.75
    assert (found["params"]["classifier"], found["data"][0]["name"]) == ("LogisticRegression", "reviews")
    data = hashlib.sha256((EXAMPLE / "data" / "reviews.parquet").read_bytes()).hexdigest()
    assert found["params"]["data_sha256"] == data and found["data"][0]["digest"] == data[:36]
    assert found["tags"]["code"].startswith("sha256:") and found["tags"]["data_rows"] == "2000"
