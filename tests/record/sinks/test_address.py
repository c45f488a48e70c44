"""The URLs of sinks: what is accepted, what is refused and how, and that no secret is shown."""

from __future__ import annotations

import importlib.util
import stat
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from hansang.errors import MissingExtra, UsageError
from hansang.record.sinks.address import SCHEMES, check, read, sink_of
from hansang.record.sinks.wanted import read_wanted, set_wanted
from hansang.settings import Settings


def test_several_urls_are_separated_by_commas_and_one_may_hold_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSANG_RECORD_SINKS", "kafka://a:9092,b:9092/topic, s3://bucket/prefix,log:")
    assert Settings().record_sinks == ("kafka://a:9092,b:9092/topic", "s3://bucket/prefix", "log:")


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.module)
def test_the_example_of_each_kind_is_a_sink(scheme: object, tmp_path: Path) -> None:
    example = getattr(scheme, "example").split(" or ")[0]  # noqa: B009  # the parameter is an object
    sink = sink_of(read(example.replace("///data", f"//{tmp_path}")))
    assert sink.most_rows >= 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "no sink for 'mysql://host/db'; sinks are .*bigquery://"),
        ("nonsense", "no sink for 'nonsense'"),
        ("s3:///prefix", "is not complete; write s3://bucket/prefix"),
        ("file://folder", "with three slashes"),
        ("s3://bucket?colour=red", "has no option 'colour'; it has endpoint, region"),
        ("postgresql://host", "is not complete"),
        ("bigquery://project", "is not complete"),
        ("bigquery://project/dataset?write=slowly", r"\?write=storage or \?write=insertAll"),
        ("kafka:///topic", "is not complete"),
        ("kafka://host/topic?acks=1", "options of librdkafka"),
        ("delta://folder", "with three slashes"),
    ],
)
def test_a_url_that_does_not_fit_is_refused_with_how_it_looks(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sink_of(read(url))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(MissingExtra) as missing:
        check(["postgresql://user:secret@host/db"])
    assert str(missing.value) == (
        "the sink postgresql://user:***@host/db needs the package 'adbc_driver_postgresql': "
        'pip install "hansang[postgres]"'
    )


def test_no_secret_is_shown_and_a_changed_password_is_the_same_sink() -> None:
    first = read("postgresql://user:secret@host/db?table=t&sslpassword=hidden")
    assert str(first) == "postgresql://user:***@host/db?table=t&sslpassword=***"
    assert "secret" not in repr(first)
    assert first.name == read("postgresql://user:other@host/db?table=t").name
    assert first.name != read("postgresql://user:secret@host/db?table=u").name


def test_a_sink_cannot_be_given_twice() -> None:
    with pytest.raises(UsageError, match="is given twice"):
        check(["log:", "log:"])


def test_services_that_share_a_record_share_its_sinks(tmp_path: Path) -> None:
    set_wanted(tmp_path, "bikes", ["log:"], limit=1000)
    set_wanted(tmp_path, "faces/2", ["file:///lake"], limit=2000)
    wanted = read_wanted(tmp_path)
    assert sorted(wanted.shown.values()) == ["file:///lake", "log:"]
    assert wanted.limit == 1000
    for path in (tmp_path / "sinks" / "wanted").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    set_wanted(tmp_path, "bikes", [])
    assert list(read_wanted(tmp_path).shown.values()) == ["file:///lake"]
