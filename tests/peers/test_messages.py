"""A message that says something else than a batch is refused, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import Batch, Call
from hansang.call import Step
from hansang.peers.messages import facts, read_answers, read_request, write_answers, write_request
from hansang.peers.values import WireError
from tests.peers.test_values import same


def message(content: Any) -> bytes:
    text = json.dumps(content | {"buffers": []}).encode()
    return b"HSB\x01" + len(text).to_bytes(4, "big") + text


CALL = ["id", 0, None, None, None, 0, None, []]
GOOD: dict[str, Any] = {"rows": 1, "values": [1], "calls": [CALL], "headers": [{}], "steps": []}


def test_the_smallest_request() -> None:
    batch = read_request(message(GOOD), 0.0)
    assert (batch.rows, batch.calls[0].id) == ([1], "id")


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 2},
        {"rows": None},
        {"values": 3},
        {"values": None},
        {"calls": []},
        {"calls": [CALL, CALL]},
        {"calls": [[1]]},
        {"calls": [[*CALL[:4], "soon", *CALL[5:]]]},
        {"calls": [[*CALL[:5], 7, *CALL[6:]]]},
        {"calls": [[*CALL[:7], [0]]]},
        {"steps": [["a"]]},
        {"steps": [[1, 2, 3, 4, 5, 6, 7]]},
        {"headers": None},
        {"columns": {"a": 1}, "values": None},
        {"table": [["a"], [[1, 2]]]},
        {"table": [["a", "b"], [[1], []]]},
        {"table": [["a", "b"], [[1]]]},
        {"table": [[["a"]], [[1]]]},
        {"table": None},
    ],
    ids=str,
)
def test_a_request_that_does_not_add_up(changed: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        read_request(message(GOOD | changed), 0.0)


@pytest.mark.parametrize(
    "content",
    [
        {"rows": 2, "values": [1, 2], "trails": [[]], "steps": []},
        {"rows": 1, "values": [1], "trails": [[4]], "steps": []},
        {"rows": 1, "values": [1], "trails": [], "steps": []},
        {"rows": 1, "values": [1]},
        {"rows": 1, "values": [1], "trails": [[]], "steps": [], "changes": [[9, None, None]]},
    ],
    ids=str,
)
def test_answers_that_do_not_add_up(content: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        read_answers(Batch.of([0], [Call()]), message(content))


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "columns", "background"]),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=6,
        ),
    )
)
def test_any_json_is_a_batch_or_refused(changed: dict[str, Any]) -> None:
    try:
        batch = read_request(message(GOOD | changed), 0.0)
    except WireError:
        return
    assert len(batch.calls) == batch.size


@given(st.lists(st.floats() | st.text() | st.none(), min_size=1, max_size=9), st.booleans())
def test_rows_and_answers_go_there_and_back(rows: list[Any], with_calls: bool) -> None:
    batch = Batch(rows, [Call(str(n), n) for n in range(len(rows))] if with_calls else None)
    far = read_request(write_request(batch, 0.0), 0.0)
    known = facts(far)
    far.mark(Step("n", "m", "1", rows=far.size))
    answers = read_answers(batch, write_answers(far, far.replace(list(reversed(far.rows))), known))
    assert str(answers.rows) == str(rows[::-1])
    steps = batch.calls[0].trail if with_calls else batch.steps
    assert [step.model for step in steps] == ["m"]


cells = st.floats() | st.integers() | st.booleans() | st.text(max_size=2) | st.none()
arrays = st.sampled_from([np.arange(3), np.ones((2, 2), np.float32), np.array(1.5), np.array([None])])


@given(
    st.integers(1, 9),
    st.dictionaries(st.text(max_size=3), st.sampled_from([st.floats(), st.integers(), cells, arrays])),
    st.data(),
)
def test_rows_of_the_same_fields_come_out_the_same(size: int, fields: dict[str, Any], data: st.DataObject) -> None:
    rows = [{name: data.draw(kind) for name, kind in fields.items()} for _ in range(size)]
    got = read_request(write_request(Batch(rows), 0.0), 0.0)
    assert same(got.rows, rows)
