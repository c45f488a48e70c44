"""Object stores and folders: the record's Parquet files as they are, under the same names, through obstore.

A file that comes again overwrites itself, so that readers never see its rows twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from hansang.extras import require
from hansang.record.sinks.address import Address, known_options, read, wrong
from hansang.record.sinks.sink import Parcel

CONNECT, CALL = "5s", "60s"
RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}  # the delivery tries again by itself
PART = 8 * 1024 * 1024  # bytes of a part of a large upload


@dataclass(slots=True)
class ObjectSink:
    """Puts each file of the record to `<prefix>/predictions/dt=2026-11-23/<name>.parquet`.

    Credentials come from the environment, as AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS or
    AZURE_STORAGE_ACCOUNT_KEY, or from the machine's role.
    """

    url: str
    config: dict[str, str]
    most_rows: int = 0
    _store: Any = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        self._store = opened(self.url, self.config)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store = None

    def deliver(self, parcel: Parcel) -> None:
        """Put a file; in parts when it is large, and visible when all of them are there."""
        obstore = require("obstore", "store", "the object store sink")
        name = f"{parcel.kind}/{parcel.path.parent.name}/{parcel.path.name}"
        obstore.put(self._store, name, parcel.path, chunk_size=PART, max_concurrency=2)


def sink(address: Address) -> ObjectSink:
    """Make the sink of `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///…`."""
    parts = address.parts
    options = known_options(address, "endpoint", "region")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/") or options:
            raise wrong(address, "file:///folder, with three slashes")
    elif not parts.netloc or (parts.scheme == "az" and not parts.path.strip("/")):
        raise wrong(address)
    names = {"endpoint": f"{ {'s3': 'aws', 'gs': 'google', 'az': 'azure'}.get(parts.scheme, '') }_endpoint"}
    config = {names.get(name, name): value for name, value in options.items()}
    return ObjectSink(parts._replace(query="").geturl(), config)


def opened(url: str, config: dict[str, str]) -> Any:
    """Open a store with obstore."""
    store = require("obstore.store", "store", "an object store")
    if url.startswith("file:"):
        return store.LocalStore(urlsplit(url).path, mkdir=True)
    client: dict[str, Any] = {"connect_timeout": CONNECT, "timeout": CALL}
    if any(value.startswith("http://") for name, value in config.items() if "endpoint" in name):
        client["allow_http"] = True
    return store.from_url(url, config=config or None, client_options=client, retry_config=RETRIES)


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects under a URL, for payloads."""

    store: Any

    def put(self, name: str, path: Path) -> None:
        """Put a file; in parts when it is large, and visible when all of them are there."""
        require("obstore", "store").put(self.store, name, path, chunk_size=PART, max_concurrency=2)

    def list(self) -> Iterator[tuple[float, int, str]]:
        """Give the time, the size and the name of each object."""
        for page in require("obstore", "store").list(self.store):
            for item in page:
                yield item["last_modified"].timestamp(), item["size"], item["path"]

    def delete(self, name: str) -> None:
        """Delete an object."""
        require("obstore", "store").delete(self.store, name)


def store_at(url: str) -> Objects:
    """Open the store of a URL; the same URLs as those of the sink."""
    made = sink(read(url))
    return Objects(opened(made.url, made.config))


def get(url: str, name: str) -> bytes | None:
    """Read one object; None when there is none of this name."""
    try:
        return bytes(require("obstore", "store").get(store_at(url).store, name).bytes())
    except FileNotFoundError:
        return None
