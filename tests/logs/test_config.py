"""One configuration for all processes; what is wrong in it is said with its file and key."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hansang.cli.main import app
from hansang.errors import SettingsError, UsageError
from hansang.logs.config import DEFAULT, configure, configure_helper
from hansang.settings import Settings, load_settings

pytestmark = pytest.mark.usefixtures("own_logging")
HEAD = "version = 1\n"


def wrong(tmp_path: Path, text: str, name: str = "logging.toml") -> str:
    """Give what is said about a configuration, without its beginning."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        configure("server", path)
    begin = f"the logging configuration {path}"
    assert str(caught.value).startswith(begin)
    return str(caught.value).removeprefix(begin).lstrip(": ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 2", "version: it must be 1, not 2"),
        (HEAD + "[handler.x]", "handler: there is no such key; there are disable_existing_loggers, filters, "),
        (HEAD + '[loggers.x]\nlevl = "INFO"', "loggers.x.levl: there is no such key; there are filters, handlers, "),
        (HEAD + '[loggers.x]\nlevel = "loud"', "loggers.x.level: 'loud' is no level; there are debug, "),
        (HEAD + '[root]\nlevel = "LOUD"', "root.level: 'LOUD' is no level"),
        (HEAD + "[handlers.x]\nlevel = 10", "handlers.x: class is missing"),
        (HEAD + '[handlers.x]\nclass = "logging.Nothing"', "handlers.x: "),
        (HEAD + '[handlers.x]\nclass = "no.such.Handler"', "handlers.x: ModuleNotFoundError: No module named 'no'"),
        (
            HEAD + '[handlers.x]\nclass = "logging.StreamHandler"\nstraem = "ext://sys.stderr"',
            "handlers.x: TypeError: StreamHandler.__init__() got an unexpected keyword argument 'straem'",
        ),
        (HEAD + '[handlers.x]\nclass = "logging.StreamHandler"\nformatter = "none"', "handlers.x: KeyError: 'none'"),
        (HEAD + '[loggers.x]\nhandlers = ["none"]', "loggers.x: KeyError: 'none'"),
        (HEAD + '[root]\nhandlers = ["none"]', "root: KeyError: 'none'"),
        (HEAD + '[formatters.x]\nformat = "%(message"', "formatters.x: ValueError: "),
        (
            HEAD + '[handlers.x]\nclass = "hansang.logs.rotating.RotatingFile"\nfilename = "x"\nevery = "week"',
            "handlers.x: ValueError: every must be one of hour, day, never, not 'week'",
        ),
        (
            HEAD + '[handlers.x]\nclass = "logging.handlers.RotatingFileHandler"\nfilename = "x.log"',
            "handlers.x: several processes cannot share a RotatingFileHandler; take hansang.logs.rotating.RotatingFile",
        ),
        (HEAD + "[formatters]\nx = 1", "formatters.x: it must be a table"),
        (HEAD + "handlers = 1", "handlers.*: it must be a table"),
        (HEAD + "root = 1", "root: it must be a table"),
        ("version = ", "cannot be read: Invalid value"),
        ("", "version: it must be 1, not None"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    assert wrong(tmp_path, text).startswith(said)


def test_yaml_and_json_are_read_too_and_their_faults_are_named(tmp_path: Path) -> None:
    assert wrong(tmp_path, "version: [", "logging.yaml").startswith("cannot be read: ")
    assert wrong(tmp_path, "- version", "logging.yaml").startswith("is no table; `hansang logging` prints one")
    assert wrong(tmp_path, '{"version": 3}', "logging.json") == "version: it must be 1, not 3"
    path = tmp_path / "logging.yaml"
    path.write_text("version: 1\nroot: {level: error}\n")
    configure("server", path)
    assert logging.getLogger().level == logging.ERROR
    with pytest.raises(UsageError, match="none.toml cannot be read: "):
        configure("server", tmp_path / "none.toml")


def test_levels_are_set_for_all_and_for_single_loggers() -> None:
    configure("server", None, "debug,uvicorn=error, hansang.access = warning")
    assert logging.getLogger("anything.of.mine").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("hansang").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("uvicorn").level == logging.ERROR
    assert not logging.getLogger("hansang.access").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("value", ["loud", "info,uvicorn=loud", "=info", "info;debug"])
def test_a_wrong_level_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANSANG_LOG_LEVEL", value)
    with pytest.raises(SettingsError, match=r"HANSANG_LOG_LEVEL: .* is no level; write one of debug, info, "):
        load_settings(Settings)


def test_the_processes_that_a_server_starts_find_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logging.toml").write_text(DEFAULT.read_text().replace('["console"]', '["file"]'))
    configure("server", Path("logging.toml"), "warning")
    monkeypatch.chdir("/")
    configure_helper("compactor")
    (handler,) = logging.getLogger().handlers
    assert type(handler).__name__ == "RotatingFile"
    assert logging.getLogger().level == logging.WARNING


def test_a_helper_logs_as_by_default_when_the_file_has_become_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logging.toml").write_text("version = 3")
    monkeypatch.setenv("HANSANG_LOG_CONFIG", str(tmp_path / "logging.toml"))
    configure_helper("compactor")
    logging.getLogger("hansang.record").warning("still here")
    lines = capfd.readouterr().err.splitlines()
    assert "version: it must be 1, not 3; this process logs as by default" in lines[0]
    assert lines[1].endswith(f"WARNING hansang.record [{os.getpid()}] still here")


def test_a_file_for_each_process_is_a_way_for_other_handlers(tmp_path: Path) -> None:
    (tmp_path / "logging.toml").write_text(
        HEAD + '[root]\nhandlers = ["file"]\n[formatters.json]\n"()" = "hansang.logs.lines.Json"\n'
        '[handlers.file]\nclass = "logging.handlers.RotatingFileHandler"\nformatter = "json"\n'
        f'filename = "{tmp_path}/{{process}}-{{pid}}.log"\nmaxBytes = 1000\nbackupCount = 2\n'
    )
    configure("worker-1", tmp_path / "logging.toml")
    logging.getLogger("mine").warning("hello", extra={"shop": 7})
    line = json.loads((tmp_path / f"worker-1-{os.getpid()}.log").read_text())
    assert (line["message"], line["shop"], line["process"]) == ("hello", 7, "worker-1")


def test_warnings_are_lines_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    configure("server")
    logging.getLogger("py.warnings").warning("deprecated")
    assert "py.warnings" in capfd.readouterr().err


def test_the_command_prints_the_default_which_passes_its_own_check(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["logging"])
    assert printed.output == DEFAULT.read_text()
    path = tmp_path / "logging.toml"
    path.write_text(printed.output)
    checked = CliRunner().invoke(app, ["logging", "--check", str(path)])
    assert checked.exit_code == 0
    assert 'logger root: level INFO, handlers ["console"]\n' in checked.output
    assert "handler file: class hansang.logs.rotating.RotatingFile, filename logs/hansang.log" in checked.output
    path.write_text("version = 2")
    assert isinstance(CliRunner().invoke(app, ["logging", "--check", str(path)]).exception, UsageError)
