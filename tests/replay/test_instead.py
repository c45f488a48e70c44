"""Another model in the place of one of the service's own."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from hansang.errors import UsageError
from hansang.replay import replay
from hansang.replay.candidate import find_candidate, is_name
from tests.replay.conftest import Write

SERVICE = """
from pydantic import BaseModel
from hansang import Model, Service, node

class Trip(BaseModel):
    km: float

@node.each
def whole(prediction: dict[str, float]) -> float:
    return round(next(iter(prediction.values())))

service = Service("rides", Model("one.txt") >> whole, input=Trip)
"""


@pytest.fixture
def models(tmp_path: Path) -> None:
    """Train a model, and another one whose rides are twice as long."""
    km = np.repeat(np.arange(10.0), 30)[:, None]
    for name, factor in (("one.txt", 3), ("two.txt", 6)):
        data = lightgbm.Dataset(km, factor * km[:, 0], feature_name=["km"])
        lightgbm.train({"verbose": -1, "learning_rate": 1.0}, data, 1).save_model(tmp_path / name)
    (tmp_path / "service.py").write_text(SERVICE)


def test_the_steps_around_the_model_stay(folder: Path, write: Write, models: None) -> None:
    write([1, 2, 9], outputs=[b"0"])
    same = replay("service.py", folder, processes=1).document()["fields"]["prediction"]["numbers"]["new"]["mean"]
    found = replay("service.py", folder, instead="two.txt", processes=2)
    new = found.document()["fields"]["prediction"]["numbers"]["new"]["mean"]
    assert same == pytest.approx(12, abs=1)
    assert new == pytest.approx(24, abs=1)
    assert found.answered_by == "service.py with two.txt"
    assert found.models["0 two"].endswith("two.txt")


def test_a_target_answers_as_a_whole(models: None, tmp_path: Path) -> None:
    (tmp_path / "newer.py").write_text(SERVICE.replace('"rides"', '"newer"'))
    candidate = find_candidate("service.py", "newer.py")
    assert (candidate.name, candidate.target, candidate.instead) == ("rides", "newer.py", "")
    assert candidate.endpoint("demand") is candidate.service.endpoints[0]


def test_a_word_is_a_name_in_the_record_unless_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert is_name("bikes") and is_name("my-bikes_2")
    assert not any(map(is_name, ("models:/bikes", "service.py", "module:service", "folder")))


def test_an_endpoint_that_the_other_does_not_have_is_named(models: None, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(SERVICE + 'service.endpoint("/more", whole, input=Trip)\n')
    with pytest.raises(UsageError, match="two.py has no endpoint 'demand'; it has: /predict, /more"):
        find_candidate("two.py").endpoint("demand")
