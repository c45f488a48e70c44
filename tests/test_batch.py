from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import WrongRows


class Point(BaseModel):
    x: float
    y: int


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
dicts = st.lists(
    st.builds(lambda x, y: {"x": x, "y": y}, finite, st.integers(-(2**31), 2**31)), min_size=1, max_size=12
)
outcomes = st.lists(st.integers() | st.just(ValueError("bad")), min_size=1, max_size=12)


def with_calls(rows: list[Any]) -> Batch:
    return Batch.of(rows, [Call(row=n) for n in range(len(rows))])


def as_columns(rows: list[dict[str, Any]]) -> Batch:
    return Batch.of_columns({name: np.array([row[name] for row in rows]) for name in rows[0]})


# --- parts ---


@given(outcomes, st.lists(st.integers(0, 12), max_size=4), st.booleans())
def test_concat_of_slices_gives_back_the_batch(rows: list[Any], cuts: list[int], calls: bool) -> None:
    batch = with_calls(rows) if calls else Batch.of(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [batch.slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]
    joined = Batch.concat(parts)
    assert joined.rows == batch.rows and joined.failed == batch.failed
    assert sum(part.failed for part in parts) == batch.failed
    assert joined.has_calls == calls and (not calls or joined.calls == batch.calls)


@given(dicts, st.integers(0, 12))
def test_concat_of_slices_gives_back_the_columns(rows: list[dict[str, Any]], cut: int) -> None:
    batch = as_columns(rows)
    joined = Batch.concat([batch.slice(0, cut), batch.slice(cut, batch.size)])
    assert not joined.has_calls
    for name, column in batch.columns(["x", "y"]).items():
        np.testing.assert_array_equal(joined.columns(["x", "y"])[name], column)
    assert joined.rows == batch.rows


@given(outcomes, st.data())
def test_take_gives_rows_and_calls_in_the_order_asked_for(rows: list[Any], data: st.DataObject) -> None:
    batch = with_calls(rows)
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    part = batch.take(indices)
    assert part.rows == [rows[i] for i in indices]
    assert part.calls == [batch.calls[i] for i in indices]
    assert part.failed == sum(isinstance(row, Exception) for row in part.rows)


@given(outcomes)
def test_the_good_rows_filled_back_in_give_the_batch(rows: list[Any]) -> None:
    batch = with_calls(rows)
    filled = batch.fill(batch.good, batch.take(batch.good))
    assert filled.rows == batch.rows and filled.calls == batch.calls and filled.failed == batch.failed


def test_taking_no_rows_of_columns_gives_none() -> None:
    assert as_columns([{"x": 1.0, "y": 2}]).take([]).size == 0


def test_parts_keep_the_priority_and_the_steps() -> None:
    batch = as_columns([{"x": 1.0, "y": 2}] * 4)
    batch.background = True
    batch.mark(Step("first"))
    for part in (batch.take([1, 0]), batch.slice(1, 3), batch.replace([1, 2, 3, 4]), batch.fail(ValueError())):
        assert part.background
        assert [step.node for step in part.steps] == ["first"]
    assert [step.node for step in batch.slice(0, 1).calls[0].trail] == ["first"]


def test_columns_of_different_lengths_are_no_batch() -> None:
    with pytest.raises(ValueError, match="columns of one batch have different lengths: a 2, b 3"):
        Batch.of_columns({"a": np.zeros(2), "b": np.zeros(3)})


# --- views ---


@given(dicts)
def test_dict_rows_pydantic_rows_and_columns_give_the_same_views(rows: list[dict[str, Any]]) -> None:
    plain, models, columns = Batch.of(rows), Batch.of([Point(**row) for row in rows]), as_columns(rows)
    expected = np.array([[row["x"], row["y"]] for row in rows], float)
    for batch in (plain, models, columns):
        np.testing.assert_array_equal(batch.numpy(), expected)
        np.testing.assert_array_equal(batch.numpy(["y"], np.float64)[:, 0], expected[:, 1])
        np.testing.assert_array_equal(batch.columns(["x"])["x"], expected[:, 0])
        assert batch.column("y") == [row["y"] for row in rows]
        assert batch.tuples(["y", "x"]) == [(row["y"], row["x"]) for row in rows]
        assert batch.tuples(["y"]) == [(row["y"],) for row in rows]
    assert columns.rows == rows


@given(dicts)
def test_pandas_and_arrow_give_the_same_values(rows: list[dict[str, Any]]) -> None:
    for batch in (Batch.of(rows), Batch.of([Point(**row) for row in rows]), as_columns(rows)):
        assert batch.pandas().to_dict("records") == rows
        assert batch.arrow().to_pylist() == rows
        assert list(batch.pandas(["y"]).columns) == ["y"]


def test_rows_without_fields_are_an_array_themselves() -> None:
    assert Batch.of([1.0, 2.0]).numpy().tolist() == [1.0, 2.0]
    assert Batch.of([np.zeros((2, 3))] * 4).numpy().shape == (4, 2, 3)
    with pytest.raises(TypeError, match="a row of type float has no fields"):
        Batch.of([1.0]).arrow()


def test_an_empty_batch_has_empty_views() -> None:
    assert Batch.of([]).numpy(["x", "y"]).shape == (0, 2)
    assert Batch.of([]).column("x") == []
    assert Batch.of_columns({}).size == 0 and Batch.of_columns({}).numpy().shape == (0, 0)
    assert len(Batch.of([]).pandas()) == 0 and Batch.of([]).arrow().num_rows == 0


# --- predictions ---


@pytest.mark.parametrize(
    "predictions",
    [
        [1, 2, 3],
        (1, 2, 3),
        np.array([1, 2, 3]),
        (number for number in (1, 2, 3)),
        pd.Series([1, 2, 3]),
        Batch.of([1, 2, 3]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_predictions_may_be_any_sequence(predictions: Any) -> None:
    batch = with_calls(["a", "b", "c"])
    answer = batch.replace(predictions)
    assert answer.rows == [1, 2, 3] and answer.calls == batch.calls


@pytest.mark.parametrize("predictions", [{"p": [1, 2]}, pd.DataFrame({"p": [1, 2]})], ids=["mapping", "DataFrame"])
def test_predictions_may_be_columns(predictions: Any) -> None:
    assert with_calls(["a", "b"]).replace(predictions).rows == [{"p": 1}, {"p": 2}]


def test_an_array_with_more_axes_is_an_array_a_row() -> None:
    rows = with_calls(["a", "b"]).replace(np.arange(6).reshape(2, 3)).rows
    assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5]]


@given(st.integers(0, 5), st.integers(0, 5))
def test_as_many_predictions_as_rows_or_an_error_that_says_both(rows: int, got: int) -> None:
    batch = with_calls([0] * rows)
    if got == rows:
        assert batch.replace([1] * got).size == rows
    else:
        with pytest.raises(WrongRows, match=f"^m gave {got} predictions for {rows} rows; return one per row$"):
            batch.replace([1] * got, name="m")


@pytest.mark.parametrize("predictions", [None, 3, "ab", b"ab"])
def test_what_is_no_sequence_of_predictions_is_named(predictions: Any) -> None:
    with pytest.raises(WrongRows, match=f"m gave {type(predictions).__name__}; return one prediction per row"):
        with_calls([1, 2]).replace(predictions, name="m")


def test_rows_in_another_order_are_noticed() -> None:
    batch = with_calls([1, 2, 3])
    with pytest.raises(WrongRows, match="m gave its rows in another order than it got them"):
        batch.replace(batch.take([2, 1, 0]), name="m")


def test_a_batch_without_calls_gets_those_of_its_input() -> None:
    batch = with_calls([1, 2])
    assert batch.replace(Batch.of([3, ValueError()])).calls == batch.calls
    assert batch.replace(Batch.of([3, ValueError()])).failed == 1


def test_a_failed_batch_keeps_the_errors_of_the_rows_that_had_failed() -> None:
    first, second = ValueError("first"), ValueError("second")
    batch = with_calls([1, first, 2])
    assert batch.fail(second).rows == [second, first, second]
    assert batch.fail(second).failed == 3 and batch.fail(second).calls == batch.calls


def test_a_step_is_written_once_into_every_trail() -> None:
    batch = with_calls([1, 2])
    batch.mark(Step("a"))
    batch.slice(0, 1).mark(Step("b"))
    assert [[step.node for step in call.trail] for call in batch.calls] == [["a", "b"], ["a"]]


def test_a_batch_says_its_size_and_failures() -> None:
    assert repr(Batch.of([1, ValueError()])) == "Batch(2 rows, 1 failed)" and len(Batch.of([1])) == 1


def test_a_fork_has_rows_of_its_own_where_they_can_be_changed() -> None:
    batch = with_calls([{"x": 1}, ValueError("bad"), {"x": 2}])
    batch.failed = 1
    fork = batch.fork()
    fork.rows[0]["x"] = 5
    assert batch.rows[0] == {"x": 1} and fork.rows[1] is batch.rows[1] and fork.failed == 1
    assert all(mine is not its for mine, its in zip(batch.calls, fork.calls, strict=True))


def test_every_fork_of_a_batch_brings_its_own_steps_with_or_without_calls() -> None:
    for batch in (with_calls([1, 2]), as_columns([{"x": 1}, {"x": 2}])):
        batch.mark(Step("before"))
        forks = [batch.fork() for _ in range(3)]
        for name, fork in zip("abc", forks, strict=True):
            fork.mark(Step(name))
        if not batch.has_calls:
            _ = forks[2].calls  # somebody there asked for them
        for fork in forks:
            batch.join(fork)
        assert [[step.node for step in call.trail] for call in batch.calls] == [["before", "a", "b", "c"]] * 2
