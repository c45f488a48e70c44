"""Calling what may raise so that every row has an outcome, and one bad row does not fail its neighbours."""

from __future__ import annotations

from collections.abc import Callable

from hansang.batch import Batch
from hansang.errors import ModelFailed, Problem, WrongRows
from hansang.logs.whose import around

Predict = Callable[[Batch], Batch]

HOPELESS = 8


def attempt(predict: Predict, batch: Batch, isolate: bool, name: str) -> Batch:
    """Call a model or a function once; gives one outcome a row, whatever it does.

    When the call raises and `isolate` is set, the rows are halved until the bad ones stand alone: at most 2n - 2
    further calls for n rows. A model whose first `HOPELESS` rows all failed alone, with none that went well, is taken
    for broken: the rest share the error. Predictions that are not one a row fail all rows of the call at once: nobody
    knows whose they are.
    """
    answers = once(predict, batch, name)
    if isinstance(answers, Batch):
        return answers
    if not isolate or batch.size == 1 or isinstance(answers, WrongRows):
        return batch.fail(answers)
    return bisect(predict, batch, answers, name)


def bisect(predict: Predict, batch: Batch, error: Problem, name: str) -> Batch:
    """Find the rows that make a call raise; see `attempt`."""
    settled: list[tuple[int, Batch]] = []
    todo: list[tuple[int, Batch, Problem]] = [(0, batch, error)]
    alone, good = 0, False
    while todo:
        start, part, why = todo.pop()
        if part.size == 1 or (not good and alone >= HOPELESS):
            settled.append((start, part.fail(why)))
            alone += 1
            continue
        middle = part.size // 2
        for begin, half in ((start + middle, part.slice(middle, part.size)), (start, part.slice(0, middle))):
            answers = once(predict, half, name)
            if isinstance(answers, Batch):
                settled.append((begin, answers))
                good = True
            elif isinstance(answers, WrongRows):
                settled.append((begin, half.fail(answers)))
            else:
                todo.append((begin, half, answers))
    settled.sort(key=lambda item: item[0])
    return Batch.concat([part for _, part in settled])


def once(predict: Predict, batch: Batch, name: str) -> Batch | Problem:
    """Call and give the answers, or why there are none."""
    before = around.set(batch)
    try:
        answers = predict(batch)
    except BaseException as error:  # a model that calls sys.exit() must not take its thread along
        return failure(error, name)
    finally:
        around.reset(before)
    if answers.size != batch.size:
        return WrongRows(f"{name} gave {answers.size} predictions for {batch.size} rows; return one per row")
    return answers


def failure(error: BaseException, name: str) -> Problem:
    """Turn what was raised into a row's outcome: the user's own `Problem` as it is, anything else `ModelFailed`."""
    if isinstance(error, Problem):
        return error
    failed = ModelFailed(f"{name}: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
