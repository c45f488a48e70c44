"""Who answered which rows, and what to say of a row that too few have answered."""

from __future__ import annotations

from collections.abc import Mapping

from hansang.batch import Batch
from hansang.errors import CallerLeft, DeadlineExceeded, ModelFailed, Problem
from hansang.isolate import failure


def by_members(answers: Mapping[str, Batch]) -> dict[tuple[str, ...], list[int]]:
    """Group the places of rows by the members that answered them."""
    groups: dict[tuple[str, ...], list[int]] = {}
    names = list(answers)
    for place, row in enumerate(zip(*(batch.rows for batch in answers.values()), strict=True)):
        good = tuple(name for name, outcome in zip(names, row, strict=True) if not isinstance(outcome, Exception))
        groups.setdefault(good, []).append(place)
    return groups


def most_telling(errors: Mapping[str, Exception]) -> Exception:
    """Choose what a row without enough answers fails with; it names the member, for whoever reads the log.

    A fault of the client's own comes first, as it is; then a failure, a refusal, a deadline and a caller who left; of
    equals the earliest member's.
    """
    member = min(errors, key=lambda name: rank(errors[name]))
    return named(member, errors[member])


def rank(error: Exception) -> int:
    """Order errors by how much they tell."""
    if isinstance(error, CallerLeft):
        return 4
    if isinstance(error, DeadlineExceeded):
        return 3
    if isinstance(error, Problem) and error.status < 500:
        return 0
    return 1 if isinstance(error, ModelFailed) or not isinstance(error, Problem) else 2


def named(member: str, error: Exception) -> Exception:
    """Put a member's name in front of what it said; a problem of the user's own stays as it is."""
    problem = failure(error, member)
    start = f"{member}: "
    if type(problem).__module__ != Problem.__module__ or problem.status < 500 or problem.detail.startswith(start):
        return problem
    told = type(problem)(start + problem.detail, retry_after=problem.retry_after)
    told.__cause__ = problem.__cause__ or problem
    return told
