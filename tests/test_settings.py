from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from hansang.errors import SettingsError
from hansang.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty project, without the settings of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HANSANG_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_default_that_is_valid_and_a_description() -> None:
    assert load_settings(Settings, **load_settings(Settings).model_dump()) == load_settings(Settings)
    assert all(field.description for field in Settings.model_fields.values())


def test_each_source_is_read_and_stands_above_the_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(Settings).port == 8000
    (project / "pyproject.toml").write_text("[tool.hansang]\nport = 1\nworkers = 4\n")
    assert load_settings(Settings).port == 1
    (project / "hansang.toml").write_text("port = 2\n")
    assert load_settings(Settings).port == 2
    (project / ".env").write_text("HANSANG_PORT=3\nOTHER=1\n")
    assert load_settings(Settings).port == 3
    monkeypatch.setenv("HANSANG_PORT", "4")
    assert load_settings(Settings).port == 4
    assert load_settings(Settings, port=5).port == 5
    assert load_settings(Settings).workers == 4


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "PORT",
            "eighty",
            "HANSANG_PORT: Input should be a valid integer, unable to parse string as an integer, got 'eighty'",
        ),
        ("PORT", "70000", "HANSANG_PORT: Input should be less than or equal to 65535, got '70000'"),
        ("RECORD_ON_FULL", "wait", "HANSANG_RECORD_ON_FULL: Input should be 'continue' or 'stop', got 'wait'"),
        ("WORKERS", "0", "HANSANG_WORKERS: Input should be greater than or equal to 1, got '0'"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str) -> None:
    monkeypatch.setenv(f"HANSANG_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    assert str(caught.value) == f"wrong settings (Settings):\n  {text}"


def test_a_file_that_is_not_toml_is_a_settings_error(project: Path) -> None:
    (project / "hansang.toml").write_text("port = = 2\n")
    with pytest.raises(SettingsError, match=r"wrong settings \(Settings\): .*line 1"):
        load_settings(Settings)


def test_trust_is_a_list_separated_by_commas_or_a_toml_list(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings(Settings).trusts("bikes")
    (project / "hansang.toml").write_text('trust = ["faces"]\n')
    assert load_settings(Settings).trusts("faces")
    monkeypatch.setenv("HANSANG_TRUST", "bikes, models:/age ,")
    settings = load_settings(Settings)
    assert settings.trust == ("bikes", "models:/age")
    assert settings.trusts("x", "bikes") and not settings.trusts("faces")
    monkeypatch.setenv("HANSANG_TRUST", "*")
    assert load_settings(Settings).trusts("anything")


class Place(BaseModel):
    """A nested setting of the user's."""

    rows: int


class Own(BaseSettings):
    """Settings of the user's own."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    key: Annotated[SecretStr, Field(min_length=12)]
    limit: int = 3
    place: Place = Place(rows=1)
    region: str = Field(default="eu", validation_alias="REGION", max_length=2)


def test_a_missing_value_of_the_users_own_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(Own)
    assert str(caught.value) == "wrong settings (Own):\n  SHOP_KEY: Field required"


def test_a_wrong_secret_is_named_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    monkeypatch.setenv("SHOP_LIMIT", "many")
    with pytest.raises(SettingsError, match="SHOP_KEY: Value should have at least 12 items") as caught:
        load_settings(Own)
    assert "hunter2" not in str(caught.value) and "got 'many'" in str(caught.value)


def test_a_nested_value_and_an_alias_are_named_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "a long enough key")
    monkeypatch.setenv("SHOP_PLACE", '{"rows": "x"}')
    monkeypatch.setenv("REGION", "europe")
    with pytest.raises(SettingsError) as caught:
        load_settings(Own)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["SHOP_PLACE__ROWS", "REGION"]
    monkeypatch.setenv("SHOP_PLACE", "{not json")
    with pytest.raises(SettingsError, match="place"):
        load_settings(Own)
