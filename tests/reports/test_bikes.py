"""The bike demand of 2011: a champion frozen on the first quarter gets worse, and shuffled hours do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hansang.reports import Floors, report
from tests.reports.conftest import Served
from tests.reports.making import write_record

APRIL, MAY, JUNE, JULY = "2026-04-01", "2026-05-01", "2026-06-01", "2026-07-01"
REFERENCE = f"{APRIL}..{MAY}"
ROUNDS, ALPHA = 4, 0.01
NO_FLOORS = Floors(psi=0.0, loss=0.0, share=0.0)  # so that the tests alone decide


def test_a_champion_of_the_first_quarter_is_degraded_by_june(bikes: Path) -> None:
    made = report("bikes", bikes, since=JUNE, until=JULY, reference=REFERENCE, by=["weather"])
    assert (made.verdict.status, made.verdict.exit_status) == ("degraded", 1)
    everything = made.quality.targets[0].groups[0]
    assert everything.now is not None and everything.before is not None
    assert everything.before.metrics["MAE"][0] == pytest.approx(49, abs=4)
    assert everything.now.metrics["MAE"][0] == pytest.approx(91, abs=6)
    assert everything.now.metrics["MAE"][1] > everything.before.metrics["MAE"][2]
    found = {(finding.kind, finding.subject) for finding in made.verdict.findings}
    assert {("quality", "bikers"), ("drift", "input temp"), ("range", "input feels_like")} <= found
    assert not {subject for _, subject in found} & {"input hour", "input weekday", "input workingday"}
    assert all(finding.p <= ALPHA for finding in made.verdict.findings)


def test_hours_that_are_shuffled_over_the_days_are_fine(served: Served, tmp_path: Path) -> None:
    """Each round has at most a chance of `alpha` for any finding: that of two in four is below 0.0006."""
    random = np.random.default_rng(5)
    alarms = []
    for number in range(ROUNDS):
        order = random.permutation(len(served.times)).tolist()
        folder = tmp_path / str(number)
        write_record(
            folder,
            served.times,
            [served.inputs[n] for n in order],
            [served.outputs[n] for n in order],
            [served.truths[n] for n in order],
        )
        made = report("bikes", folder, since=JUNE, until=JULY, reference=REFERENCE, floors=NO_FLOORS)
        assert made.verdict.tests == 20
        alarms.append(made.verdict.exit_status)
    assert sum(alarms) <= 1
