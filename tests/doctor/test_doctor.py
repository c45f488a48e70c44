"""Each anti-pattern is found with its evidence, and a service without any is left in peace."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hansang import Batch, Model, Service
from hansang.doctor import Report, examine
from hansang.doctor.examine import Aim
from hansang.doctor.speed import Speed
from hansang.doctor.words import no_bounds
from hansang.record import Recorder, Rows, Shared
from hansang.service import Endpoint
from hansang.settings import Settings
from tests.examples.serving import HANSANG, environment

ROW = 'x: float = Field(ge=0, le=9)\n    kind: Literal["a", "b"] = "a"'
SERVICE = """
import time
from typing import Literal
import numpy as np
from pydantic import BaseModel, Field
from hansang import Batch, Model, Service
{imports}

class Row(BaseModel):
    {row}

def predict(batch: Batch) -> list[float]:
    {body}
    return [row.x for row in batch.rows]

service = Service("shop", Model(predict), input=Row, output=float, example={{"x": 1.0}}, {options})
"""
GOOD = 'deadline=0.5, owner="shop", description="A shop."'


class Row(BaseModel):
    x: float = Field(ge=0, le=9)


def write(folder: Path, imports: str = "", row: str = ROW, body: str = "pass", options: str = GOOD) -> Path:
    path = folder / "service.py"
    path.write_text(SERVICE.format(imports=imports, row=row, body=body, options=options))
    return path


def look(service: Service, folder: Path, **aim: Any) -> Report:
    target = write(folder)
    return examine(service, str(target), Settings(records=folder / "records"), Aim(**aim, seconds=0.1))


def shop(predict: Any, **options: Any) -> Service:
    said = {"deadline": 0.5, "owner": "shop", "description": "A shop.", "example": {"x": 1.0}}
    return Service("shop", Model(predict), input=Row, output=float, **{**said, **options})


def quick(batch: Batch) -> list[float]:
    return [row.x for row in batch.rows]


def slow(batch: Batch) -> list[float]:
    time.sleep(0.02 + 0.001 * len(batch))
    return [row.x for row in batch.rows]


def kinds(report: Report) -> list[str]:
    return [finding.kind for finding in report.findings]


def record(folder: Path, inputs: list[bytes], **shared: Any) -> None:
    facts: dict[str, Any] = {"service": "shop", "endpoint": "predict", "node": "model", "model": "m", "version": "2"}
    with_ids = [f"0198a000-0000-7000-8000-{n:012d}" for n in range(len(inputs))]
    recorder = Recorder(folder / "records", compact=False)
    outputs, latencies = [b"1.0"] * len(inputs), [0.001] * len(inputs)
    recorder.write([Rows(Shared(**{**facts, **shared}), 1, 0.0, with_ids, 1_795_000_000.0, latencies, inputs, outputs)])
    recorder.roll()


def test_a_sound_service_has_no_findings(tmp_path: Path) -> None:
    report = look(shop(quick), tmp_path, rate=10.0)
    assert report.findings == []
    assert report.notes == []
    assert report.endpoints[0]["path"] == "/predict"
    assert 0.0 < report.endpoints[0]["lone_ms"] < 500.0


def test_a_model_too_slow_for_its_deadline_is_found_with_what_would_help(tmp_path: Path) -> None:
    report = look(shop(slow, deadline=0.01), tmp_path, rate=5.0)
    assert kinds(report) == ["online big size"]
    finding = report.findings[0]
    assert "one row alone takes" in finding.evidence
    assert "the deadline is 10 ms" in finding.evidence
    for remedy in ("cache: unknown, no record", "smaller model", "async", "batch"):
        assert remedy in finding.remedy


def test_more_rows_than_can_be_predicted_are_found_and_a_cache_is_judged_by_the_record(tmp_path: Path) -> None:
    record(tmp_path, [b'{"x":%d.0}' % (n % 2) for n in range(100)])
    report = look(shop(slow, deadline=10.0), tmp_path, rate=5000.0)
    assert kinds(report) == ["online big size"]
    assert "5e+03 rows a second come" in report.findings[0].evidence
    assert "98% of the latest 100 recorded rows repeat an earlier one; cached(…) leaves" in report.findings[0].remedy
    assert report.endpoints[0]["recorded_rows"] == 100


def test_the_rate_of_the_busiest_minute_counts_when_none_is_said(tmp_path: Path) -> None:
    record(tmp_path, [b'{"x":1.0}'] * 120)
    report = look(shop(quick), tmp_path)
    assert report.endpoints[0]["rate_per_s"] == 2.0


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"owner": ""}, "nobody knows", "no owner"),
        ({"description": ""}, "nobody knows", "no description"),
        ({"deadline": None}, "no deadline", "x-deadline-ms"),
    ],
)
def test_what_a_service_does_not_say_is_found(tmp_path: Path, changes: dict[str, Any], kind: str, told: str) -> None:
    report = look(shop(quick, **changes), tmp_path)
    assert kinds(report) == [kind]
    assert told in report.findings[0].evidence


def test_a_record_that_is_off_is_found(tmp_path: Path) -> None:
    target = write(tmp_path)
    report = examine(shop(quick), str(target), Settings(records=tmp_path / "records", record=False), Aim(seconds=0.1))
    assert kinds(report) == ["no logging"]


def test_recorded_rows_that_cannot_be_read_back_are_found(tmp_path: Path) -> None:
    (tmp_path / "records" / "corrupt").mkdir(parents=True)
    (tmp_path / "records" / "corrupt" / "a.17.corrupt").touch()
    report = look(shop(quick), tmp_path)
    assert kinds(report) == ["no logging"]
    assert "17 recorded rows" in report.findings[0].evidence


class Loose(BaseModel):
    """One field of each sort: some are limited, some are not."""

    number: float
    count: int | None
    name: str
    tags: list[str]
    kind: Literal["a", "b"]
    flag: bool
    wide: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
    limited: Annotated[float, Field(gt=0)]
    short: Annotated[str, Field(max_length=3)]


def test_fields_without_limits_are_named_with_what_was_recorded_of_them() -> None:
    inputs = [{"number": -3.5, "name": "kimchi"}, {"number": 12, "name": "tofu", "count": None}]
    found = list(no_bounds(Endpoint("/predict", Model(quick), input=Loose), inputs))
    assert [finding.kind for finding in found] == ["no bounds"]
    assert "number (recorded: -3.5 to 12), count, name (recorded: up to 6 long), tags, wide:" in found[0].evidence


def test_training_libraries_are_found_with_the_time_they_take(tmp_path: Path) -> None:
    target = write(tmp_path, imports="import matplotlib")
    report = examine(shop(quick), str(target), Settings(records=tmp_path / "records"), Aim(seconds=0.1))
    assert kinds(report) == ["training code in serving"]
    assert "matplotlib (" in report.findings[0].evidence


@pytest.mark.slow
def test_several_heavy_models_in_one_process_are_found_with_their_weight(tmp_path: Path) -> None:
    target = tmp_path / "service.py"
    target.write_text(
        "import numpy as np\nfrom pydantic import BaseModel\nfrom hansang import Batch, Model, Service\n"
        "class Row(BaseModel):\n    x: float\n"
        "class Heavy(Model):\n"
        "    def load(self, *args):\n"
        "        loaded = super().load(*args)\n"
        "        object.__setattr__(self, 'weights', np.ones(4_000_000))\n"
        "        return loaded\n"
        "def same(batch: Batch):\n    return batch.rows\n"
        "service = Service('pair', Heavy(same, name='left') >> Heavy(same, name='right'), input=Row)\n"
    )
    done = subprocess.run(
        [HANSANG, "doctor", target, "--json", "--heavy-mb", "20"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert '"kind":"all in one"' in done.stdout
    assert "left 3" in done.stdout
    assert "[nodes.left] port = 8101 [nodes.right] port = 8102" in done.stdout


@pytest.mark.slow
def test_the_command_ends_with_status_0_when_all_is_well_and_2_when_there_is_no_service(tmp_path: Path) -> None:
    def status(*arguments: str) -> int:
        command = [str(HANSANG), "doctor", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False).returncode

    assert status("nothing.py") == 2
    write(tmp_path)
    assert status("service.py", "--rate", "1") == 0


def test_the_wait_is_one_call_for_lone_rows_and_two_under_load() -> None:
    speed = Speed(per_row=0.001, per_call=0.05, calls=10)
    assert speed.wait(0.1) == pytest.approx(0.051)
    assert speed.wait(100.0) == pytest.approx(2 * (0.05 + 0.001 * (100 * 0.05 / 0.9)))
    assert speed.wait(600.0) == float("inf")
    assert speed.capacity == pytest.approx(64 / 0.114)


@pytest.mark.slow
def test_a_champion_that_no_shadow_or_split_has_seen_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register = Path(__file__).parents[1] / "scoring" / "register.py"
    twice = f"import runpy; [runpy.run_path({str(register)!r}) for _ in range(2)]"
    subprocess.run([sys.executable, "-c", twice], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    service = Service("flowers", Model("models:/flowers@champion"), deadline=1.0, owner="a", description="b")
    found = examine(service, "models:/flowers@champion", Settings(records=tmp_path / "records"), Aim(seconds=0.1))
    assert kinds(found) == ["no bounds", "offline only"]
    assert "model flowers version 2" in found.findings[1].where
    record(tmp_path, [b"{}"], model="flowers", version="2", role="shadow")
    service = Service("flowers", Model("models:/flowers@champion"), deadline=1.0, owner="a", description="b")
    again = examine(service, "models:/flowers@champion", Settings(records=tmp_path / "records"), Aim(seconds=0.1))
    assert kinds(again) == ["no bounds"]
