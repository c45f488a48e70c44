from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hansang.metrics import LATENCY, Metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(metrics: Metrics) -> Samples:
    """Read the exposition as a Prometheus server would."""
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_gauges_and_histograms_are_exposed_with_their_labels() -> None:
    metrics = Metrics()
    metrics.counter("rows_total", "Rows.", status="200").add(3)
    metrics.counter("rows_total", "Rows.", status="500").add()
    metrics.gauge("in_flight", "Now.").set(7)
    metrics.histogram("seconds", "Time.", (0.1, 1.0), model='a "b"\\c\n').observe(0.5)
    found = samples(metrics)
    assert found["rows_total", (("status", "200"),)] == 3 and found["rows_total", (("status", "500"),)] == 1
    assert found["in_flight", ()] == 7
    label = ("model", 'a "b"\\c\n')
    assert found["seconds_bucket", (("le", "0.1"), label)] == 0
    assert found["seconds_bucket", (("le", "1.0"), label)] == 1
    assert found["seconds_bucket", (("le", "+Inf"), label)] == 1
    assert found["seconds_count", (label,)] == 1 and found["seconds_sum", (label,)] == 0.5


@given(st.lists(st.floats(0, 20), max_size=30), st.booleans())
def test_buckets_are_cumulative_and_end_with_the_count(values: list[float], together: bool) -> None:
    metrics = Metrics()
    histogram = metrics.histogram("seconds", "Time.")
    if together:
        histogram.observe_all(values)
    else:
        for value in values:
            histogram.observe(value)
    found = samples(metrics)
    for bound in LATENCY:
        assert found["seconds_bucket", (("le", str(bound)),)] == sum(value <= bound for value in values)
    assert found["seconds_bucket", (("le", "+Inf"),)] == found["seconds_count", ()] == len(values)
    assert found["seconds_sum", ()] == pytest.approx(sum(values))


def test_the_same_name_and_labels_are_the_same_series_in_any_order() -> None:
    metrics = Metrics()
    metrics.counter("a_total", "A.", x="1", y="2").add()
    metrics.counter("a_total", "A.", y="2", x="1").add()
    assert samples(metrics) == {("a_total", (("x", "1"), ("y", "2"))): 2}
    assert metrics.counter("a_total", "A.", x="1", y="2").value == 2


def test_a_name_with_other_labels_is_refused() -> None:
    metrics = Metrics()
    metrics.counter("a_total", "A.", x="1")
    with pytest.raises(ValueError, match="the metric a_total is used with other labels"):
        metrics.counter("a_total", "A.", y="1")


def test_a_label_with_ever_new_values_is_named() -> None:
    metrics = Metrics()
    with pytest.raises(RuntimeError, match="a label of seconds has too many values"):
        for number in range(10_000):
            metrics.histogram("seconds", "Time.", call=str(number))


WORKER = """
import sys
from pathlib import Path
from hansang.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]))
metrics.counter("rows_total", "Rows.", worker=sys.argv[2]).add()
metrics.counter("all_total", "All.").add(float(sys.argv[2]))
metrics.gauge("in_flight", "Now.").set(5)
metrics.histogram("seconds", "Time.", (1.0,)).observe(0.5)
print("counted", flush=True)
sys.stdin.read()
"""


def worker(folder: Path, number: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, folder, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"counted\n"
    return process


def test_the_numbers_of_several_processes_add_up_and_a_killed_one_is_not_lost(tmp_path: Path) -> None:
    own = Metrics(tmp_path)
    own.counter("all_total", "All.").add(100)
    processes = [worker(tmp_path, number) for number in (1, 2, 3)]
    try:
        found = samples(own)
        assert found["all_total", ()] == 106
        assert [found["rows_total", (("worker", str(n)),)] for n in (1, 2, 3)] == [1, 1, 1]
        assert found["in_flight", ()] == 15
        assert found["seconds_count", ()] == found["seconds_bucket", (("le", "1.0"),)] == 3
        processes[0].kill()
        processes[0].wait()
        found = samples(own)
        assert found["all_total", ()] == 106 and found["seconds_sum", ()] == 1.5
        assert found["in_flight", ()] == 10  # a dead process has nothing in flight
    finally:
        for process in processes:
            with process:
                process.kill()


def test_a_process_with_the_id_of_a_dead_one_keeps_its_numbers(tmp_path: Path) -> None:
    Metrics(tmp_path).counter("all_total", "All.").add(3)
    again = Metrics(tmp_path)
    again.counter("other_total", "Other.").add(10)
    again.counter("all_total", "All.").add(4)
    found = samples(again)
    assert found["all_total", ()] == 7 and found["other_total", ()] == 10
    assert len(list(tmp_path.glob(f"{os.getpid()}-*.cells"))) == 2


def test_a_series_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.counter("all_total", "All.").add()
    (names,) = tmp_path.glob("*.series")
    with names.open("a") as file:
        file.write('["counter", "half_to')
    assert samples(metrics) == {("all_total", ()): 1}
