"""`make demo ONCE=1` ends with status 0 when all is well, and otherwise says what is not."""

import importlib.util
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.examples.serving import ROOT, environment

DEMO = ROOT / "examples" / "demo.py"


def run_demo(folder: Path, *, seconds: float = 170) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, DEMO, "--once", "--folder", folder]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=seconds, check=False)


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_trains_serves_asks_and_finds_every_answer_in_the_record(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("registered: models:/bikes@champion", "2400 (", "records written"):
        assert line in done.stdout


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(tmp_path: Path) -> None:
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")
    done = run_demo(tmp_path)
    assert done.returncode == 1
    assert "holds something else than a demo" in done.stdout
    assert kept.read_text() == "years of work"


def test_a_second_demo_in_the_same_folder_is_refused(demo: ModuleType, tmp_path: Path) -> None:
    with demo.emptied(tmp_path):
        done = run_demo(tmp_path)
    assert done.returncode == 1
    assert "another demo is running" in done.stdout


def test_a_port_that_is_taken_is_not_used(demo: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo.free_port(port) not in (port, 0)


@pytest.mark.parametrize(
    ("status", "records", "predicted", "wrong"),
    [
        (200, 10, 100.0, []),
        (500, 9, 100.0, ["1 of 10 requests were answered with an error"]),
        (200, 9, 100.0, ["the record holds 9 answers, 10 were given"]),
        (200, 10, 400.0, ["the mean absolute error is 290.0, expected at most 35.0"]),
        (200, 10, float("nan"), ["the mean absolute error is nan, expected at most 35.0"]),
    ],
)
def test_what_is_wrong_ends_the_demo(
    demo: ModuleType, status: int, records: int, predicted: float, wrong: list[str]
) -> None:
    answers = [demo.Answer(0.001, 200, predicted, 110, 181) for _ in range(9)]
    answers.append(demo.Answer(0.001, status, predicted, 110, 182))
    assert demo.report(answers, 5.0, records, 1.0) == wrong


def test_no_good_answer_at_all_ends_the_demo(demo: ModuleType) -> None:
    with pytest.raises(demo.Failed, match="all 1 requests failed; the first with status 503"):
        demo.report([demo.Answer(0.001, 503, float("nan"), 110, 181)], 0.0, 0, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_demo_that_is_ended_from_outside_takes_its_server_along(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command: list[str | Path] = [sys.executable, DEMO, "--folder", folder]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("serving models:/bikes@champion"):
                break
        address = re.search(r"(http://\S+)/predict", (folder / "server.log").read_text())
        assert address
        assert httpx.get(f"{address[1]}/readyz", trust_env=False).status_code == 200
        demo.terminate()
        assert demo.wait(60) == 143
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address[1]}/readyz", trust_env=False)
