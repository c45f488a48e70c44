"""Kill switches: files in a folder, looked at once a second at most, by every process of the machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hansang import UsageError
from hansang.switches import Switches, switch_off, switch_on, switched_off
from hansang.testing import Clock


def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the looks at the folder's time stamp and at its names."""
    noted: list[str] = []
    stat, listdir = os.stat, os.listdir

    def noted_stat(path: Path) -> os.stat_result:
        noted.append("stat")
        return stat(path)

    def noted_listdir(path: Path) -> list[str]:
        noted.append("names")
        return listdir(path)

    monkeypatch.setattr("hansang.switches.os.stat", noted_stat)
    monkeypatch.setattr("hansang.switches.os.listdir", noted_listdir)
    return noted


def test_what_is_switched_off_is_off_within_a_second_and_what_is_on_is_on_again(tmp_path: Path) -> None:
    clock = Clock()
    switches = Switches(tmp_path / "switches", clock)
    assert not switches.off("a")
    assert switch_off(tmp_path / "switches", "a")
    assert not switches.off("a")
    clock.advance(1.0)
    assert switches.off("a") and not switches.off("b")
    assert switch_on(tmp_path / "switches", "a")
    clock.advance(1.0)
    assert not switches.off("a")


def test_a_change_right_after_a_look_is_seen_though_the_time_stamp_may_be_the_same(tmp_path: Path) -> None:
    clock = Clock()
    switches = Switches(tmp_path, clock)
    switch_off(tmp_path, "a")
    assert switches.off("a")
    before = os.stat(tmp_path)
    switch_off(tmp_path, "b")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.advance(1.0)
    assert switches.off("b")


def test_an_unchanged_folder_costs_one_stat_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(tmp_path, (1e9, 1e9))
    clock, noted = Clock(), looks(monkeypatch)
    switches = Switches(tmp_path, clock)
    for _ in range(100):
        switches.off("a")
    assert noted == ["stat", "names"]
    clock.advance(1.0)
    for _ in range(100):
        switches.off("a")
    assert noted == ["stat", "names", "stat"]


def test_a_folder_that_cannot_be_read_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, folder = Clock(), tmp_path / "switches"
    switches = Switches(folder, clock)
    switch_off(folder, "a")
    assert switches.off("a")
    folder.rename(tmp_path / "away")
    folder.write_text("a file")
    clock.advance(1.0)
    assert switches.off("a") and "cannot be read, they stay as they are" in caplog.text


@pytest.mark.parametrize("name", ["face/age", "..", ".", "한상", "a b", "%2F", ".hidden"])
def test_any_name_can_be_switched_and_stays_within_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "switches"
    assert switch_off(folder, name) and not switch_off(folder, name)
    assert Switches(folder).off(name) and list(switched_off(folder)) == [name]
    assert os.listdir(tmp_path) == ["switches"] and len(os.listdir(folder)) == 1
    assert switch_on(folder, name) and not switch_on(folder, name)
    assert switched_off(folder) == {}


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("", "x" * 256):
        with pytest.raises(UsageError, match="is no name of a switch"):
            switch_off(tmp_path, name)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="is not a folder"):
        switch_off(file, "a")
    with pytest.raises(UsageError, match="cannot be switched on"):
        switch_on(file, "a")
    with pytest.raises(UsageError, match="cannot be read"):
        switched_off(file)


def test_changes_are_logged_and_a_name_that_nobody_here_has_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    switches = Switches(tmp_path, clock)
    switches.known.add("guard")
    switch_off(tmp_path, "gaurd")
    with caplog.at_level(logging.WARNING, "hansang"):
        switches.off("guard")
        switch_on(tmp_path, "gaurd")
        clock.advance(1.0)
        switches.off("guard")
    assert caplog.messages == [
        "switched off: gaurd, which is none of those here: guard",
        "switched on: gaurd",
    ]


def command(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("hansang"), "switch", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_the_command_switches_off_and_on_and_lists(tmp_path: Path) -> None:
    assert command(tmp_path, "list") == "nothing is switched off\n"
    assert command(tmp_path, "off", "guard") == "guard is off\n"
    assert command(tmp_path, "off", "guard") == "guard was off already\n"
    assert Switches(tmp_path / ".hansang/switches").off("guard")
    assert command(tmp_path, "list").split()[:3] == ["off", "since", "guard"]
    assert json.loads(command(tmp_path, "list", "--json")).keys() == {"name", "since"}
    assert command(tmp_path, "on", "guard") == "guard is on\n"
    assert command(tmp_path, "on", "guard") == "guard was on already\n"
    assert command(tmp_path, "off", "a", "--dir", "elsewhere") and (tmp_path / "elsewhere/a").exists()
    assert "is no name of a switch" in command(tmp_path, "off", "", status=2)
