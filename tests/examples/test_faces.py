"""The example `faces` on the portraits that scikit-image and matplotlib ship."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import skimage
from matplotlib import cbook
from PIL import Image

from tests.examples.serving import HANSANG, ROOT, run, served
from tests.served.running import until
from tests.served.test_up import same, up

SERVICE = ROOT / "examples" / "faces" / "service.py"
SAMPLES = Path(skimage.__file__).parent / "data"
ASTRONAUT = SAMPLES / "astronaut.png"
CAT = SAMPLES / "chelsea.png"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(SERVICE, cwd=tmp_path_factory.mktemp("faces")) as client:
        yield client


def hopper_file() -> Path:
    return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def hopper() -> bytes:
    return hopper_file().read_bytes()


def upload(client: httpx.Client, photo: bytes, name: str = "photo") -> httpx.Response:
    return client.post("/predict", files={"image": (name, photo)})


def test_the_astronaut_is_found_female_and_33(client: httpx.Client) -> None:
    answer = upload(client, ASTRONAUT.read_bytes())
    assert answer.status_code == 200, answer.text
    face = answer.json()
    assert (face["age"], face["gender"], face["box"]) == (33, "female", [179, 83, 266, 170])
    assert face["gender_confidence"] == pytest.approx(0.87, abs=0.01)
    assert face["age_confidence"] == pytest.approx(0.30, abs=0.01)


def test_grace_hopper_is_found_80_and_wrongly_male(client: httpx.Client) -> None:
    face = upload(client, hopper(), "grace_hopper.jpg").json()
    assert (face["age"], face["gender"]) == (80, "male")
    assert face["gender_confidence"] == pytest.approx(0.986, abs=0.01)


def test_a_photo_that_is_stored_on_its_side_is_turned_upright(client: httpx.Client) -> None:
    photo = Image.open(io.BytesIO(hopper())).convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    photo.save(stored, "PNG", exif=exif)
    assert upload(client, stored.getvalue()).json()["age"] == 80


def test_several_photos_get_one_answer_each_in_order(client: httpx.Client) -> None:
    files = [("image", ("a.png", ASTRONAUT.read_bytes())), ("image", ("b.jpg", hopper()))]
    answers = client.post("/predict", files=files).json()
    assert [face["age"] for face in answers] == [33, 80]


def test_a_photo_without_a_face_is_the_clients_problem(client: httpx.Client) -> None:
    answer = upload(client, CAT.read_bytes())
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "No face found"


def test_a_file_that_is_no_picture_is_refused(client: httpx.Client) -> None:
    answer = upload(client, b"%PDF-1.7 not a picture", "photo.jpg")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][-1] == "image"


def test_a_missing_photo_is_refused(client: httpx.Client) -> None:
    answer = client.post("/predict", files={"portrait": ("a.png", ASTRONAUT.read_bytes())})
    assert answer.status_code == 422


def test_a_folder_of_photos_is_scored_and_one_without_a_face_stops_nothing(tmp_path: Path) -> None:
    photos = (ASTRONAUT, CAT, hopper_file())
    run(HANSANG, "score", SERVICE, *photos, "-o", tmp_path / "faces.parquet", cwd=tmp_path, status=1)
    scored = pq.read_table(tmp_path / "faces.parquet")
    assert scored["age"].to_pylist() == [33, None, 80]
    assert scored["error"].to_pylist() == [None, "422: no face looks at the camera in this photo", None]


def test_the_face_service_as_four_processes_gives_the_same_bytes_and_does_without_a_head(
    client: httpx.Client, tmp_path: Path
) -> None:
    photos = (ASTRONAUT.read_bytes(), hopper(), CAT.read_bytes(), b"no picture")
    expected = [same(upload(client, photo)) for photo in photos]
    with up(SERVICE, tmp_path, ["crop", "age", "gender"]) as service:
        assert len(service.pids("serve")) == 4
        assert [same(upload(service.client, photo)) for photo in photos] == expected
        service.kill("--node gender")
        partial = upload(service.client, photos[0])
        assert (partial.status_code, partial.headers["x-variant"]) == (200, "partial")
        assert (partial.json()["age"], partial.json()["gender"]) == (33, None)
        until(lambda: same(upload(service.client, photos[0])) == expected[0], patience=60)
