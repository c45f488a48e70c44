"""What an operator can set, from the environment, `.env`, `hansang.toml` or `[tool.hansang]` in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hansang.errors import SettingsError
from hansang.logs.config import parse_levels

BETWEEN_URLS = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+]*:/|log:)")
SomeSettings = TypeVar("SomeSettings", bound=BaseSettings)


class Place(BaseModel):
    """Where a node runs: at a `url`, or in a process that `hansang up` starts on this machine at a `port`.

    `timeout` is the longest wait for it, in seconds. Only a process that `hansang up` starts has `workers`.
    """

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    host: str = "127.0.0.1"
    workers: int = Field(default=1, ge=1, le=256)
    timeout: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Place:
        if (self.url is None) == (self.port is None):
            raise ValueError("give url, where the node runs already, or port, where `hansang up` starts it")
        return self

    def address(self, name: str) -> str:
        """Give the URL of the node."""
        if self.url is not None:
            return (
                self.url
                if urlsplit(self.url).path.strip("/")
                else f"{self.url.rstrip('/')}/nodes/{quote(name, safe='')}"
            )
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/nodes/{quote(name, safe='')}"


class Settings(BaseSettings):
    """Hansang's own settings; each is also `HANSANG_<NAME>` in the environment or in `.env`.

    Times are seconds and sizes bytes. The order of precedence: command line, environment, `.env`, `hansang.toml`,
    `[tool.hansang]` in `pyproject.toml`.
    """

    model_config = SettingsConfigDict(
        env_prefix="HANSANG_",
        env_file=".env",
        toml_file="hansang.toml",
        pyproject_toml_table_header=("tool", "hansang"),
        extra="ignore",
        validate_default=False,
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Server processes.")
    node: str | None = Field(default=None, description="The node to serve alone, at /nodes/NAME, for other processes.")
    nodes: dict[str, Place] = Field(
        default={}, description="Nodes that run in other processes, by name; a table of hansang.toml."
    )
    registry: str | None = Field(
        default=None, description="MLflow registry; default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."
    )
    registry_poll: float = Field(
        default=5.0, gt=0, description="Time between two looks at the registry for a managed model."
    )
    registry_keep: bool = Field(
        default=True, description="Keep the version before in memory, so that a rollback takes no time."
    )
    registry_webhook_secret: str | None = Field(
        default=None, repr=False, description="Secret of MLflow's webhook; with it POST /registry/webhook is answered."
    )
    trust: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Models whose files may run code on load: their URIs or names, separated by commas; * for all.",
    )
    signers: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Files of public Ed25519 keys, separated by commas; models that they signed may run code on load.",
    )
    record: bool = Field(default=True, description="Keep a record of every answered row.")
    records: Path = Field(default=Path(".hansang/records"), description="Folder of the prediction record.")
    record_on_full: Literal["continue", "stop"] = Field(
        default="continue",
        description="When the record cannot be written: answer on and count the loss, or answer 503.",
    )
    record_durability: Literal["cache", "sync"] = Field(
        default="cache", description="cache: survives a killed process; sync: fsync per write, survives power loss."
    )
    record_body_limit: int = Field(
        default=65536, ge=256, description="Larger inputs and outputs are recorded by their hash."
    )
    switches: Path = Field(
        default=Path(".hansang/switches"), description="Folder of the kill switches; see `hansang switch`."
    )
    jobs: Path = Field(
        default=Path(".hansang/jobs.sqlite"), description="File of the answers that come later, made when needed."
    )
    record_key: SecretStr | None = Field(
        default=None, description="Secret of the hashes in the record, 16 characters or more; see field policies."
    )
    policies: Annotated[dict[str, str], NoDecode] = Field(
        default={}, description="Field policies, as `person.name=drop, user_id=hash`; a table in hansang.toml."
    )
    record_keep_days: float | None = Field(
        default=None, gt=0, description="Delete records older than so many days; default: none are deleted."
    )
    record_keep_bytes: int | None = Field(
        default=None, ge=1024, description="Delete the oldest records while there are more bytes of Parquet files."
    )
    record_sinks: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Where else the records go: URLs of sinks, separated by commas."
    )
    record_spool_limit: int | None = Field(
        default=None,
        ge=1024,
        description="Most bytes that wait in a spool, or that retention holds for sinks; more is lost and counted.",
    )
    payloads: str = Field(
        default="off",
        description="Where images, files and large bodies go: off, local (beside the record), or a URL of a store.",
    )
    payloads_keep_days: float | None = Field(
        default=None,
        gt=0,
        description="Delete payloads so many days after the last row that refers to them; default: as the record.",
    )
    payloads_keep_bytes: int | None = Field(
        default=None,
        ge=1024,
        description="Delete the oldest payloads, none of the last hour, while more bytes are kept.",
    )
    records_route: bool = Field(default=True, description="Answer GET /records/{id}, which is for operators.")
    feedback: bool = Field(default=True, description="Take feedback at POST /feedback.")
    feedback_check: bool = Field(
        default=True,
        description="Refuse feedback on predictions that are not in this record; false where replicas have their own.",
    )
    max_body: int = Field(default=16 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_header: int = Field(default=32 * 1024, ge=1024, description="Largest request header.")
    max_rows: int = Field(default=4096, ge=1, description="Most rows in the service at once; more are answered 503.")
    max_connections: int = Field(
        default=4096, ge=1, description="Most open connections of a worker; more are answered 503."
    )
    header_timeout: float = Field(default=10.0, gt=0, description="Time to send a request's header.")
    body_timeout: float = Field(default=30.0, gt=0, description="Time to send a request's body.")
    keep_alive: float = Field(default=75.0, gt=0, description="Time after which an idle connection is closed.")
    drain_timeout: float = Field(
        default=30.0, ge=0, description="Time for accepted requests to be answered after SIGTERM."
    )
    stuck_after: float = Field(default=30.0, gt=0, description="A model call that runs longer makes /readyz fail.")
    otel: bool = Field(
        default=False, description="Send OpenTelemetry spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."
    )
    log_config: Path | None = Field(
        default=None, description="File for Python's logging, TOML, YAML or JSON; `hansang logging` prints the default."
    )
    log_level: str | None = Field(
        default=None,
        description="Levels: `debug`, `info`, `warning`, `error`; also of single loggers: `info,uvicorn=debug`.",
    )
    access_log: bool = Field(default=False, description="Log a line for each request.")

    @field_validator("trust", "signers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level")
    @classmethod
    def _levels(cls, value: str | None) -> str | None:
        if value is not None:
            parse_levels(value)
        return value

    @field_validator("policies", mode="before")
    @classmethod
    def _read_policies(cls, value: object) -> object:
        return read_pairs(value) if isinstance(value, str) else value

    @field_validator("record_sinks", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        return split_urls(value) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the project's files under the environment."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            TomlConfigSettingsSource(settings_cls),
            PyprojectTomlConfigSettingsSource(settings_cls),
        )

    def trusts(self, *names: str) -> bool:
        """Say whether one of a model's names stands in `trust`."""
        return "*" in self.trust or any(name in self.trust for name in names)


def load_settings(kind: type[SomeSettings], **given: Any) -> SomeSettings:
    """Read settings of this class; a wrong value is a `SettingsError` that names its variable."""
    try:
        return kind(**given)
    except ValidationError as error:
        lines = [f"  {describe(kind, fault)}" for fault in error.errors()]
        raise SettingsError(f"wrong settings ({kind.__name__}):\n" + "\n".join(lines)) from error
    except ValueError as error:  # a value that is not the JSON its field needs; a file that is not TOML
        raise SettingsError(f"wrong settings ({kind.__name__}): {error}") from error


def read_pairs(text: str) -> dict[str, str]:
    """Read `name=value, name=value`."""
    pairs = [part.strip().rpartition("=") for part in text.split(",") if part.strip()]
    for name, sign, _ in pairs:
        if not sign or not name.strip():
            raise ValueError("write FIELD=POLICY, separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


def split_urls(text: str) -> tuple[str, ...]:
    """Split URLs at the commas between them; one URL may hold commas, as between the brokers of Kafka."""
    return tuple(part for part in BETWEEN_URLS.split(text.strip()) if part)


def describe(kind: type[BaseSettings], fault: ErrorDetails) -> str:
    """Say what is wrong with one setting, without telling a secret."""
    place, message = fault["loc"], fault["msg"]
    if not place:
        return message
    known = kind.model_fields.get(str(place[0]))
    prefix = str(kind.model_config.get("env_prefix", "")) if known is not None else ""  # an alias has no prefix
    name = f"{prefix}{'__'.join(map(str, place))}".upper()
    secret = known is None or "Secret" in str(known.annotation)
    plain = isinstance(fault["input"], str | int | float | None) and not secret
    return f"{name}: {message}" + (f", got {fault['input']!r}" if plain and fault["type"] != "missing" else "")
