"""One story for every kind of sink: it is down, comes back, its owner is killed, and its readers see each row once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hansang.record import Limits, Recorder
from hansang.record.feedback import feedback_recorder
from hansang.record.files import parquet_files
from hansang.record.read import connect, query
from hansang.record.segment import KINDS
from hansang.record.sinks.lag import lags
from hansang.record.sinks.position import Positions
from hansang.record.sinks.wanted import read_wanted, set_wanted
from tests.record.sinks.making import NOW, compact, id_at, predicted, truth_of
from tests.record.sinks.places import HEAVY, PLACES, Place

ROOT = Path(__file__).parents[3]
ROWS = 40  # of a segment
SAME = """
SELECT model, version, count(*) AS answers, avg(output_value) AS mean, max(json_value(input, '$.x')) AS x
FROM predictions
WHERE status = 200
GROUP BY model, version
ORDER BY model, version
"""


class Story:
    """A record with one sink, a writer and an owner that can be killed."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder, self.place = folder, place
        self.written: list[tuple[str, str]] = []
        set_wanted(folder, "tests", [place.url])
        (self.name,) = read_wanted(folder).sinks
        with Positions(folder) as positions:
            positions.register(read_wanted(folder).shown, [])
        self.predictions = Recorder(folder, Limits(rows=ROWS))
        self.feedback = feedback_recorder(folder, limits=Limits(rows=ROWS))

    def write(self, segments: int) -> None:
        for _ in range(segments):
            numbers = range(len(self.written), len(self.written) + ROWS)
            self.predictions.write([predicted(numbers)])
            self.written += [("predictions", id_at(NOW, number)) for number in numbers]
        number = len(self.written)
        self.feedback.write([truth_of(number)])
        self.written.append(("feedback", id_at(NOW, number)))
        self.predictions.roll()
        self.feedback.roll()
        compact(self.folder)

    @contextmanager
    def owner(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "tests.record.sinks.owner", str(self.folder)]
        env = os.environ | self.place.env
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def wait(self, reached: Callable[[], bool]) -> None:
        until = time.monotonic() + 50
        while not reached():
            assert time.monotonic() < until, lags(self.folder)
            time.sleep(0.01)

    def failures(self) -> int:
        with Positions(self.folder) as positions:
            return positions.all()[0].failures

    def delivered(self) -> int:
        with Positions(self.folder) as positions:
            return positions.all()[0].delivered

    def forget_the_last_notes(self) -> None:
        """Be as if the owner had been killed between the delivery of its last files and noting it."""
        with Positions(self.folder) as positions, positions.transaction() as change:
            change.execute(
                "DELETE FROM file WHERE name IN (SELECT name FROM file WHERE complete ORDER BY name LIMIT 3)"
            )


def tell(story: Story) -> None:
    story.place.down()
    story.write(3)
    with story.owner() as owner:
        story.wait(lambda: story.failures() > 0)
        (lag,) = lags(story.folder)
        assert lag.rows == len(story.written)
        assert lag.position.error
        story.place.up()
        story.wait(lambda: story.delivered() >= ROWS)
        owner.send_signal(signal.SIGKILL)
    story.write(4)
    story.forget_the_last_notes()
    with story.owner() as owner:
        story.wait(lambda: story.delivered() >= 4 * ROWS)
        story.place.down()
        story.write(3)
        assert owner.stdin is not None
        owner.stdin.write(b"\n")
        owner.stdin.flush()
        story.place.up()
        story.wait(lambda: lags(story.folder)[0].rows == 0)
    assert sorted(story.place.seen()) == sorted(story.written)
    if story.place.ask is not None:
        with connect(story.folder) as connection:
            assert story.place.ask(SAME) == query(connection, SAME).to_pylist()
    files = [path for kind in KINDS for path in parquet_files(story.folder, kind)]
    with Positions(story.folder) as positions:
        assert not any(positions.lacking(path) for path in files)


@pytest.mark.parametrize("name", PLACES)
def test_readers_see_each_row_once_though_the_sink_was_down_and_its_owner_was_killed(tmp_path: Path, name: str) -> None:
    with PLACES[name](tmp_path) as place:
        tell(Story(tmp_path / "records", place))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", HEAVY)
def test_the_same_on_large_servers(tmp_path: Path, name: str) -> None:
    with HEAVY[name](tmp_path) as place:
        tell(Story(tmp_path / "records", place))
