"""`hansang rollout` as a user runs it, in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hansang.cli.main import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(steps_copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on the registry; gives its status and all that it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANSANG_REGISTRY", steps_copy)

    def command(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hansang", "rollout", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else 0, said.out + said.err

    return command


def test_a_rollout_is_started_shown_and_aborted(run: Run) -> None:
    assert run("status", "steps") == (1, "error: no rollout of 'steps' was ever started\n")
    status, said = run("start", "steps", "--challenger", "4", "--shadow", "--guard", "drift=off", "--why", "new data")
    assert status == 0 and "runs: version 4 against 1, shadow 100 %" in said
    status, said = run("status", "steps", "--json")
    found = json.loads(said)
    assert status == 3 and found["rollout"]["runs"] is True and found["rollout"]["mode"] == "shadow"
    assert found["rollout"]["guards"] == {"errors": 0.01, "latency": 1.5}
    status, said = run("promote", "steps", "--if-ready")
    assert status == 1 and "may not take over yet" in said
    status, said = run("abort", "steps", "--why", "a mistake", "--who", "ann")
    assert status == 0 and "was aborted" in said
    assert run("status", "steps")[0] == 1
    status, said = run("history", "steps", "--json")
    events = [json.loads(line) for line in said.splitlines()]
    assert [(event["action"], event["why"]) for event in events] == [("start", "new data"), ("abort", "a mistake")]
    assert "a mistake" in run("history", "steps")[1]


def test_steps_and_their_promotion_are_shown(run: Run) -> None:
    status, said = run("start", "steps", "--challenger", "4", "--steps", "1,10,50,100", "--every", "1h", "--by", "x")
    assert status == 0 and "split 1 %, then 10 %, 50 %, 100 %" in said
    assert run("watch", "steps", "--once")[0] == 0
    status, said = run("promote", "steps", "--why", "no doubt")
    assert status == 0 and "was promoted" in said
    assert run("status", "steps")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--shadow", "--split", "10"], "give one of --shadow, --split and --steps"),
        (["--steps", "1,ten", "--every", "1h"], "is no list of percents"),
        (["--split", "10", "--guard", "speed=2"], "no guard 'speed'; there are: errors, latency"),
        (["--split", "10", "--guard", "latency=fast"], "'fast' is no number"),
        (["--split", "10", "--guard", "disagreement=0.1"], "needs pairs"),
        (["--shadow", "--metric", "score"], "says nothing of a shadow"),
    ],
)
def test_what_makes_no_rollout_is_usage(run: Run, words: list[str], says: str) -> None:
    status, said = run("start", "steps", "--challenger", "4", *words)
    assert status == 2 and says in said
