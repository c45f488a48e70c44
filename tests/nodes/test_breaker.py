"""A breaker opens on what happened within its window, and closes when its probes go well; time is a test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import UsageError
from hansang.nodes.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, Circuit
from hansang.testing import Clock

BREAKER = Breaker(error_rate=0.5, min_rows=10, window=10.0, open_for=5.0, probes=4)


def opened(clock: Clock) -> Circuit:
    circuit = Circuit(BREAKER, clock)
    circuit.note(0, 10, turn=circuit.turn)
    assert circuit.state == OPEN
    return circuit


def half_open(clock: Clock) -> Circuit:
    circuit = opened(clock)
    clock.advance(5.0)
    assert circuit.admit(100) == 4 and circuit.state == HALF_OPEN
    return circuit


def test_it_opens_when_enough_rows_failed_at_the_rate_and_not_before() -> None:
    circuit = Circuit(BREAKER, Clock())
    circuit.note(0, 9, turn=0)
    assert circuit.state == CLOSED and circuit.admit(30) == 30
    circuit.note(10, 0, turn=0)
    assert circuit.state == CLOSED
    circuit.note(0, 1, turn=0)
    assert circuit.state == OPEN and circuit.admit(30) == 0 and circuit.openings == 1


def test_a_good_row_does_not_open_it_though_many_failed_before() -> None:
    circuit = Circuit(BREAKER, Clock())
    circuit.note(0, 9, turn=0)
    circuit.note(1, 0, turn=0)
    assert circuit.state == CLOSED


def test_what_has_left_the_window_does_not_count() -> None:
    clock = Clock()
    circuit = Circuit(BREAKER, clock)
    circuit.note(0, 9, turn=0)
    clock.advance(10.0)
    circuit.note(0, 9, turn=0)
    assert circuit.state == CLOSED
    clock.advance(5.0)
    circuit.note(0, 1, turn=0)
    assert circuit.state == OPEN


def test_while_open_nothing_goes_through_until_its_time_is_over() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.advance(4.9)
    assert circuit.admit(5) == 0
    clock.advance(0.1)
    assert circuit.admit(3) == 3 and circuit.state == HALF_OPEN


def test_half_open_lets_only_its_probes_through() -> None:
    clock = Clock()
    circuit = half_open(clock)
    assert circuit.admit(1) == 0
    circuit.note(2, 0, turn=circuit.turn)
    assert circuit.state == HALF_OPEN and circuit.admit(1) == 0


def test_it_closes_when_the_probes_went_well_and_forgets_what_was() -> None:
    circuit = half_open(Clock())
    circuit.note(3, 1, turn=circuit.turn)
    assert circuit.state == CLOSED and circuit.admit(50) == 50
    circuit.note(0, 9, turn=circuit.turn)
    assert circuit.state == CLOSED


def test_it_opens_again_as_soon_as_enough_probes_failed() -> None:
    clock = Clock()
    circuit = half_open(clock)
    circuit.note(0, 2, turn=circuit.turn)
    assert circuit.state == OPEN and circuit.openings == 2 and circuit.admit(1) == 0
    clock.advance(5.0)
    assert circuit.admit(1) == 1


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    circuit = half_open(Clock())
    circuit.note(0, 0, 1, turn=circuit.turn)
    assert circuit.admit(9) == 1


def test_probes_without_an_outcome_do_not_keep_it_half_open_for_ever() -> None:
    clock = Clock()
    circuit = half_open(clock)
    old = circuit.turn
    clock.advance(5.0)
    assert circuit.admit(9) == 4
    circuit.note(0, 4, turn=old)
    assert circuit.state == HALF_OPEN
    circuit.note(4, 0, turn=circuit.turn)
    assert circuit.state == CLOSED


def test_rows_that_were_sent_before_it_opened_say_nothing_of_the_probes() -> None:
    clock = Clock()
    circuit = Circuit(BREAKER, clock)
    before = circuit.turn
    circuit.note(0, 10, turn=before)
    clock.advance(5.0)
    circuit.admit(4)
    circuit.note(0, 100, turn=before)
    assert circuit.state == HALF_OPEN


@given(
    st.lists(
        st.tuples(st.floats(0, 4), st.integers(0, 20), st.lists(st.booleans(), max_size=20)), min_size=1, max_size=60
    )
)
def test_whatever_happens_it_never_lets_more_through_than_it_may(steps: list[tuple[float, int, list[bool]]]) -> None:
    clock = Clock()
    circuit = Circuit(BREAKER, clock)
    for seconds, rows, outcomes in steps:
        clock.advance(seconds)
        admitted = circuit.admit(rows)
        assert admitted == {CLOSED: rows, OPEN: 0}.get(circuit.state, admitted)
        assert 0 <= admitted <= rows and (circuit.state != HALF_OPEN or admitted <= BREAKER.probes)
        known = outcomes[:admitted]
        circuit.note(sum(known), len(known) - sum(known), turn=circuit.turn)
        assert circuit._rows >= circuit._bad >= 0 and circuit._taken >= 0


@pytest.mark.parametrize("options", [{"error_rate": 0}, {"error_rate": 1.5}, {"window": 0}, {"probes": 0}])
def test_a_breaker_that_cannot_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Breaker(**options)  # type: ignore[arg-type]  # the numbers are what is tested
