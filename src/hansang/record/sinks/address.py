"""The URLs of sinks: what they mean, which extra they need, and how they are shown without their secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from hansang.errors import UsageError
from hansang.extras import present, require

SECRET = re.compile(r"(password|secret|token|key|sas)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of sink: its module here, the packages it needs, and how its URL looks."""

    module: str
    extra: str
    packages: tuple[str, ...]
    example: str


OBJECTS = ("objects", "store", ("obstore",))
SCHEMES = {
    "file": Scheme(*OBJECTS, "file:///data/records"),
    "s3": Scheme(*OBJECTS, "s3://bucket/prefix"),
    "gs": Scheme(*OBJECTS, "gs://bucket/prefix"),
    "az": Scheme(*OBJECTS, "az://account/container/prefix"),
    "postgresql": Scheme(
        "postgres", "postgres", ("adbc_driver_postgresql",), "postgresql://user@host/database?table=predictions"
    ),
    "bigquery": Scheme(
        "bigquery",
        "bigquery",
        ("google.cloud.bigquery", "google.cloud.bigquery_storage"),
        "bigquery://project/dataset/predictions",
    ),
    "kafka": Scheme("kafka", "kafka", ("confluent_kafka",), "kafka://host:9092/predictions"),
    "delta": Scheme("delta", "delta", ("deltalake",), "delta:///data/lake or delta+s3://bucket/lake"),
    "log": Scheme("lines", "", (), "log:"),
}
SCHEMES["postgres"] = SCHEMES["postgresql"]
SCHEMES["delta+s3"] = SCHEMES["delta+gs"] = SCHEMES["delta+az"] = SCHEMES["delta"]


@dataclass(frozen=True, slots=True)
class Address:
    """A sink's URL, taken apart; `options` are its query."""

    url: str

    @property
    def parts(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    @property
    def scheme(self) -> Scheme:
        """What kind of sink it is."""
        return SCHEMES[self.parts.scheme]

    @property
    def options(self) -> dict[str, str]:
        """The options behind the question mark."""
        return dict(parse_qsl(self.parts.query, keep_blank_values=True))

    @property
    def name(self) -> str:
        """The sink's name in metrics and messages: the same as long as it means the same place, whoever logs in."""
        parts = self.parts
        place = (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), *self._places())
        return f"{parts.scheme}-{sha256(repr(place).encode()).hexdigest()[:8]}"

    def _places(self) -> list[tuple[str, str]]:
        """Give the options that say where to, not how."""
        names = ("table", "feedback", "endpoint", "config", "host", "port", "dbname")
        return sorted((name, value) for name, value in self.options.items() if name in names)

    def __str__(self) -> str:
        """Show the URL without its secrets."""
        parts = self.parts
        user, at, host = parts.netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        netloc = f"{name}:***@{host}" if colon else f"{name}{at}{host}"
        query = "&".join(f"{key}={'***' if SECRET.search(key) else value}" for key, value in self.options.items())
        return parts._replace(netloc=netloc, query=query).geturl()

    __repr__ = __str__


def read(url: str) -> Address:
    """Read a sink's URL; raises `UsageError` when it is none, and says how they look."""
    address = Address(url)
    scheme = SCHEMES.get(address.parts.scheme)
    if scheme is None:
        known = ", ".join(sorted({known.example for known in SCHEMES.values()}))
        raise UsageError(f"no sink for {str(address)!r}; sinks are {known}")
    return address


def sink_of(address: Address) -> Any:
    """Make the sink of a URL, not yet entered.

    Raises `UsageError` when the URL does not fit its kind, `MissingExtra` when a package is missing.
    """
    return require(f"hansang.record.sinks.{address.scheme.module}", "").sink(address)


def check(urls: Iterable[str]) -> list[Address]:
    """Make sure that sinks can be made, without importing their clients; raises `UsageError` or `MissingExtra`."""
    addresses = [read(url) for url in urls]
    for address in addresses:
        for package in address.scheme.packages:
            present(package, address.scheme.extra, f"the sink {address}")
    names = [address.name for address in addresses]
    for address in addresses:
        if names.count(address.name) > 1:
            raise UsageError(f"the sink {address} is given twice")
    return addresses


def wrong(address: Address, expected: str = "") -> UsageError:
    """Say that a URL does not fit its kind."""
    return UsageError(f"the sink {address} is not complete; write {expected or address.scheme.example}")


def known_options(address: Address, *names: str) -> dict[str, str]:
    """Give the options of a URL; raises `UsageError` for one that its kind does not know."""
    for name in address.options:
        if name not in names:
            raise UsageError(f"the sink {address} has no option {name!r}; it has {', '.join(names)}")
    return address.options
