"""A report on records of every shape: what is missing is said, and nothing is found where nothing has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from hansang.errors import UsageError
from hansang.reports import Report, report
from hansang.reports.document import document
from hansang.reports.page import html
from tests.reports.making import DAY, START, write_record

DAYS, A_DAY = 20, 24
SINCE, UNTIL, REFERENCE = "2026-01-15", "2026-01-21", "2026-01-01..2026-01-15"
TIMES = [START + hour * DAY / A_DAY for hour in range(DAYS * A_DAY)]
LATER = [time >= START + 14 * DAY for time in TIMES]
ROWS = len(TIMES)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def made(folder: Path, **options: Any) -> Report:
    """Compare the last six days with the two weeks before them."""
    return report("s", folder, **{"since": SINCE, "until": UNTIL, "reference": REFERENCE, **options})


def recorded(folder: Path, inputs: Sequence[Any], outputs: Sequence[Any] | None = None, **more: Any) -> Path:
    write_record(folder, TIMES, inputs, outputs or [0.5] * len(inputs), service="s", **more)
    return folder


def feature(of: Report, name: str) -> dict[str, Any]:
    features: list[dict[str, Any]] = document(of)["drift"]["features"]
    return next(each for each in features if each["name"] == name)


def test_fields_of_every_kind_are_compared_or_say_why_not(tmp_path: Path, random: np.random.Generator) -> None:
    inputs = [
        {
            "number": float(random.normal()),
            "constant": 3,
            "never": None,
            "color": str(random.choice(["red", "green"])),
            "text": f"word {n} " + "long " * int(random.integers(1, 9)),
            "nested": {"deep": {"flag": bool(random.integers(2))}},
            "several": list(range(int(random.integers(0, 6)))),
            "mixed": "x" if n % 2 else 1,
        }
        for n in range(ROWS)
    ]
    result = made(recorded(tmp_path, inputs))
    assert result.verdict.findings == []
    kinds = {each["name"]: (each["kind"], each["note"]) for each in document(result)["drift"]["features"]}
    assert kinds == {
        "number": ("number", ""),
        "constant": ("number", "constant"),
        "never": ("text", "always missing"),
        "color": ("text", ""),
        "text": ("length of text", ""),
        "nested.deep.flag": ("boolean", ""),
        "several": ("length of list", ""),
        "mixed": ("mixed", ""),
        "output": ("number", "constant"),
    }
    assert "always missing" in html(result)


def test_each_kind_of_change_is_found_and_nothing_else(tmp_path: Path, random: np.random.Generator) -> None:
    inputs = [
        {
            "same": float(random.normal()),
            "shifted": float(random.normal() + late),
            "gone": None if late and random.random() < 0.3 else 1,
            "beyond": float(random.random() + (late and random.random() < 0.2)),
            "color": "blue" if late and random.random() < 0.3 else "red",
            "text": f"{n} " + "long " * int(random.integers(1, 9) + 9 * late),
            "several": [0] * int(random.integers(0, 4) + 3 * late),
        }
        for n, late in enumerate(LATER)
    ]
    result = made(recorded(tmp_path, inputs))
    assert (result.verdict.status, result.verdict.exit_status) == ("drift", 1)
    found = {(each.kind, each.subject.removeprefix("input ")) for each in result.verdict.findings}
    assert {("drift", name) for name in ("shifted", "color", "text", "several")} <= found
    assert {("missing", "gone"), ("range", "beyond")} <= found
    assert "same" not in {name for _, name in found}
    assert feature(result, "gone")["missing_now"] == pytest.approx(0.3, abs=0.12)
    assert "missing in 0.0% of rows before" in next(e.text for e in result.verdict.findings if e.kind == "missing")


def test_few_rows_are_no_alarm(tmp_path: Path) -> None:
    write_record(tmp_path, TIMES[-40:], [{"x": n} for n in range(40)], [1.0] * 40, [5.0] * 40, service="s")
    result = made(tmp_path)
    assert (result.verdict.status, result.verdict.exit_status, result.verdict.tests) == ("unknown", 0, 0)
    assert result.drift.note == "not enough rows: 0 in the reference, 50 are needed"
    page = html(result)
    assert "Not enough rows to judge" in page
    assert "Not enough rows: 0 in the reference" in page


def test_a_window_without_truth_says_so(tmp_path: Path, random: np.random.Generator) -> None:
    result = made(recorded(tmp_path, [{"x": float(random.normal())} for _ in TIMES]))
    assert result.quality.note == "no truth is known of the window"
    assert "No truth is known of the window." in html(result)
    assert document(result)["quality"]["targets"] == []


def test_truths_that_are_nothing_like_the_answers_are_no_quality(tmp_path: Path) -> None:
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, [{"label": "a"}] * ROWS, truths=[[1, 2]] * ROWS))
    assert result.quality.note.startswith("truths and answers have nothing in common")


def test_labels_are_judged_by_class_and_become_worse(tmp_path: Path, random: np.random.Generator) -> None:
    truths = [str(random.choice(["cat", "dog", "owl"])) for _ in TIMES]
    wrong = random.random(ROWS) < np.where(LATER, 0.5, 0.1)
    outputs = [{"label": "fox" if miss else truth} for truth, miss in zip(truths, wrong, strict=True)]
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, outputs, truths=truths))
    target = result.quality.targets[0]
    assert (target.target.task, target.loss) == ("labels", "error rate")
    now = target.groups[0].now
    assert now is not None
    share = float(np.mean(wrong[np.array(LATER)]))
    value, low, high = now.metrics["error rate"]
    assert value == pytest.approx(share)
    assert low < share < high
    expected = f1_score(np.array(truths)[LATER], np.array([each["label"] for each in outputs])[LATER], average="macro")
    assert now.metrics["macro F1"][0] == pytest.approx(expected)
    assert {each.kind for each in result.verdict.findings} >= {"quality"}
    assert sum(rows for *_, rows in target.confusion) == sum(LATER)
    assert len(target.worst) == 10
    assert all(row["predicted"] == "fox" for row in target.worst)
    assert "recall" in html(result)


def test_probabilities_have_an_area_under_the_curve_and_a_calibration(
    tmp_path: Path, random: np.random.Generator
) -> None:
    p = random.random(ROWS)
    truths = [bool(value) for value in random.random(ROWS) < p]
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, [{"p": round(float(v), 4)} for v in p], truths=truths))
    target = result.quality.targets[0]
    now = target.groups[0].now
    assert target.target.task == "binary"
    assert now is not None
    late = np.array(LATER)
    yes, no = p[late][np.array(truths)[late]], p[late][~np.array(truths)[late]]
    exact = float(np.mean(yes[:, None] > no[None, :]))
    assert now.metrics["AUC"][0] == pytest.approx(exact, abs=0.01)
    assert now.metrics["AUC"][1] < exact < now.metrics["AUC"][2]
    assert now.metrics["Brier score"][0] == pytest.approx(
        float(np.mean((p[late] - np.array(truths)[late]) ** 2)), abs=1e-3
    )
    assert "Calibration" in html(result)
    assert not [each for each in result.verdict.findings if each.kind == "quality"]


def test_a_slice_of_many_values_is_cut_to_the_largest(tmp_path: Path) -> None:
    inputs = [{"name": f"n{n}" if n % 2 else "many"} for n in range(ROWS)]
    result = made(recorded(tmp_path, inputs, truths=[float(n) for n in range(ROWS)]), by=["name"])
    groups = [group for group in result.quality.targets[0].groups if group.dimension == "name"]
    assert (len(groups), groups[0].name) == (12, "many")
    assert [group.p for group in groups[1:]] == [None] * 11


def test_truths_of_which_none_is_a_number_are_left_out(tmp_path: Path) -> None:
    truths = ["not a number" if n % 2 else None for n in range(ROWS)]
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, [{"y": 1.5}] * ROWS, truths=truths))
    assert result.quality.targets == []
    assert "have nothing in common" in html(result)


def test_each_target_of_an_answer_is_judged_for_itself(tmp_path: Path) -> None:
    outputs = [{"age": float(n % 50), "gender": "female" if n % 2 else "male"} for n in range(ROWS)]
    truths = [{"age": n % 50 + 1, "gender": "female"} for n in range(ROWS)]
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, outputs, truths=truths))
    judged = {each.target.name: (each.target.task, each.groups[0].now) for each in result.quality.targets}
    assert {name: task for name, (task, _) in judged.items()} == {"age": "regression", "gender": "labels"}
    assert html(result).count("<tr class=bad>") == 0
    values = {name: next(iter(now.metrics.values()))[0] for name, (_, now) in judged.items() if now is not None}
    assert values == {"age": 1.0, "gender": 0.5}


def test_slices_and_versions_are_judged_apart(tmp_path: Path) -> None:
    half = ROWS // 2
    inputs = [{"city": "Seoul" if n % 3 else "Busan", "km": float(n % 97)} for n in range(ROWS)]
    truths = [10.0 + (20.0 if late and n % 3 == 0 else 1.0) * (-1) ** n for n, late in enumerate(LATER)]
    for version, part in (("1", slice(0, half)), ("2", slice(half, ROWS))):
        write_record(
            tmp_path, TIMES[part], inputs[part], [10.0] * len(TIMES[part]), truths[part], service="s", version=version
        )
    result = made(tmp_path, by=["city", "km"])
    groups = {(each.dimension, each.name): each for each in result.quality.targets[0].groups}
    busan, seoul = groups["city", "Busan"], groups["city", "Seoul"]
    assert busan.now is not None and seoul.now is not None
    assert (busan.now.loss, seoul.now.loss) == (20.0, 1.0)
    assert {name for dimension, name in groups if dimension == "version"} == {"1", "2"}
    assert len([name for dimension, name in groups if dimension == "km"]) == 4
    subjects = {each.subject for each in result.verdict.findings if each.kind == "quality"}
    assert "prediction, city Busan" in subjects
    assert "prediction, city Seoul" not in subjects


def test_more_failures_are_found(tmp_path: Path, random: np.random.Generator) -> None:
    statuses = [500 if random.random() < (0.2 if late else 0.01) else 200 for late in LATER]
    result = made(recorded(tmp_path, [{"x": 1}] * ROWS, statuses=statuses))
    assert [each.kind for each in result.verdict.findings] == ["errors"]
    assert result.verdict.status == "degraded"
    assert document(result)["traffic"]["now"]["failed"] == sum(
        s == 500 for s, late in zip(statuses, LATER, strict=True) if late
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_training_data_in_a_file_is_a_reference(tmp_path: Path, random: np.random.Generator, suffix: str) -> None:
    folder = recorded(tmp_path / "records", [{"x": float(random.normal() + 2), "only": 1} for _ in TIMES])
    table = pa.table({"x": random.normal(size=3000), "label": random.integers(0, 9, 3000)})
    path = tmp_path / f"train.{suffix}"
    if suffix == "csv":
        path.write_text("x,label\n" + "\n".join(f"{x},{y}" for x, y in zip(*table.to_pydict().values(), strict=True)))
    else:
        pq.write_table(table, path)
    result = made(folder, reference=str(path))
    assert {each["name"] for each in document(result)["drift"]["features"]} == {"x", "only", "output"}
    assert feature(result, "only")["note"] == "not in the reference"
    assert ("drift", "input x") in {(each.kind, each.subject) for each in result.verdict.findings}
    assert "too few days" in html(result)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"service": "x"}, "no service 'x' in the record; there are: s"),
        (
            {"since": "2026-03-01", "until": "2026-04-01"},
            "'s' answered nothing from 2026-03-01 to 2026-04-01; its newest",
        ),
        ({"since": "2026-01-09", "until": "2026-01-02"}, "the window is empty"),
        ({"reference": "soon"}, "reference: 'soon' is none; write 28d, FROM..TO, or a .parquet or .csv file"),
        ({"reference": "2026-01-20..2026-02-01"}, "rows would be compared with themselves"),
        ({"reference": "nowhere.parquet"}, "there is no file 'nowhere.parquet'"),
        ({"by": ["y"]}, "no field 'y' in the input to slice by; there are: x"),
        ({"endpoint": "other"}, "no endpoint 'other' of 's' in the window; there are: predict"),
        ({"alpha": 0.0}, "alpha: 0.0 is no chance"),
        ({"folder": "nowhere"}, "no record in 'nowhere'"),
    ],
)
def test_what_cannot_be_reported_says_what_there_is(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    folder = recorded(tmp_path, [{"x": 1}] * ROWS)
    asked = {"service": "s", "folder": folder, "since": SINCE, "until": UNTIL, "reference": REFERENCE, **options}
    with pytest.raises(UsageError, match=re.escape(words)):
        report(asked.pop("service"), asked.pop("folder"), **asked)


class Tags(HTMLParser):
    """Everything that a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_a_page_needs_nothing_else_and_runs_nothing_of_what_was_recorded(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    inputs = [
        {hostile: hostile if n % 2 else "b", 'a"b': 1, "image": {"sha256": "ab" * 32, "size": 9}} for n in range(ROWS)
    ]
    truths = ["<img src=x onerror=alert(1)>" if n % 2 else "b" for n in range(ROWS)]
    outputs = ["b"] * ROWS
    page = html(made(recorded(tmp_path, inputs, outputs, truths=truths), by=[hostile]))
    parser = Tags()
    parser.feed(page)
    assert not parser.tags & {"script", "img", "link", "iframe"}
    assert parser.links == []
    assert "http" not in page.replace("http-equiv", "")
    assert f"payload <code>{'ab' * 32}</code>" in page
    assert json.dumps(document(made(tmp_path)))


def test_the_same_record_gives_the_same_report(tmp_path: Path, random: np.random.Generator) -> None:
    folder = recorded(tmp_path, [{"x": float(random.normal())} for _ in TIMES], truths=[2.0, 3.5] * (ROWS // 2))
    first, second = (document(made(folder)) for _ in range(2))
    assert {**first, "made": 0} == {**second, "made": 0}
