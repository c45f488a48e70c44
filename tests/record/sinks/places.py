"""Where the scenario delivers to: each place can be down, and says which rows its readers see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hansang.extras import require
from hansang.record.segment import KINDS
from tests.record.sinks.bigquery import FakeBigQuery
from tests.record.sinks.gate import Gate

Seen = list[tuple[str, str]]  # kind and id of each row, as readers see them


@dataclass
class Place:
    """One sink's other end; it begins down."""

    url: str
    up: Callable[[], None]
    down: Callable[[], None]
    seen: Callable[[], Seen]
    env: dict[str, str] = field(default_factory=dict)
    ask: Callable[[str], list[dict[str, Any]]] | None = None  # the warehouse's own SQL over the view of each row once


def missing(name: str) -> None:
    """Skip a test whose service is not there; on CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not there")
    pytest.skip(f"{name} is not there")


def not_installed(name: str) -> None:
    """Skip a test whose server is installed apart: a program of 153 MB, or one with an environment of its own."""
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(command: list[str], ready: Callable[[], bool], log: Path, **more: Any) -> Iterator[None]:
    """Start a server of one's own, and end it."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, **more)
        try:
            until = time.monotonic() + 90
            while not ready():
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def rows_in(tables: dict[str, list[pa.Table]]) -> Seen:
    return [(kind, id) for kind in KINDS for table in tables.get(kind, []) for id in table["id"].to_pylist()]


def parquet_in(folder: Path) -> Seen:
    return rows_in(
        {
            kind: [pq.read_table(path, partitioning=None) for path in folder.glob(f"{kind}/*/*.parquet")]
            for kind in KINDS
        }
    )


# --- folders ---


@contextmanager
def folder(tmp_path: Path) -> Iterator[Place]:
    place = tmp_path / "far" / "away"
    up, down = blocked(place.parent)
    yield Place(f"file://{place}", up, down, lambda: parquet_in(place))


@contextmanager
def delta(tmp_path: Path) -> Iterator[Place]:
    place = tmp_path / "lake" / "records"
    up, down = blocked(place.parent)
    table = require("deltalake", "delta").DeltaTable

    def seen() -> Seen:
        return rows_in({kind: [pa.table(table(str(place / kind)).to_pyarrow_table())] for kind in KINDS})

    yield Place(f"delta://{place}", up, down, seen)


def blocked(folder: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Give what lets a folder be there, and what puts a file in its place."""
    asides: list[Path] = []

    def up() -> None:
        folder.unlink()
        for aside in asides:
            shutil.copytree(aside, folder, dirs_exist_ok=True)
            shutil.rmtree(aside)
        asides.clear()

    def down() -> None:
        # A sink that is writing makes the folder again between the two steps: then it is moved again.
        while not folder.is_file():
            with suppress(FileNotFoundError):
                asides.append(folder.rename(folder.with_name(f"{folder.name}-aside-{len(asides)}")))
            with suppress(IsADirectoryError):
                folder.write_text("not a folder")

    return up, down


# --- servers ---


@contextmanager
def postgres(tmp_path: Path) -> Iterator[Place]:
    driver = require("adbc_driver_postgresql.dbapi", "postgres")
    url = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
    try:
        connection = driver.connect(f"{url}{'&' if '?' in url else '?'}connect_timeout=3", autocommit=True)
    except driver.OperationalError:
        missing("PostgreSQL")
    schema = f"sinks_{os.getpid()}_{time.monotonic_ns()}"
    parts = urlsplit(url)
    gate = Gate(parts.port or 5432)

    def seen() -> Seen:
        with connection.cursor() as cursor:
            rows = []
            for kind in KINDS:
                cursor.execute(f"SELECT id FROM {schema}.{kind}")
                rows += [(kind, id) for (id,) in cursor.fetchall()]
            return rows

    try:
        far = f"postgresql://{parts.netloc.rpartition('@')[0]}@127.0.0.1:{gate.port}{parts.path}"
        yield Place(f"{far}?table={schema}.predictions", gate.open, gate.shut, seen)
    finally:
        gate.close()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection.close()


KEY, SECRET = "tester", "a-secret-that-is-checked"


@contextmanager
def s3(tmp_path: Path) -> Iterator[Place]:
    """A SeaweedFS of one's own, which checks signatures."""
    binary = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if binary is None:
        not_installed("SeaweedFS (make services installs it)")
    names = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    config = tmp_path / "s3.json"
    config.write_text(json.dumps({"identities": [names]}))
    data = tmp_path / "weed"
    data.mkdir()
    port, filer = free_port(), free_port()
    ports = [f"-{name}={free_port()}" for name in ("master.port", "volume.port")] + [f"-filer.port={filer}"]
    grpc = [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")]
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}", "-s3", f"-s3.port={port}", f"-s3.config={config}"]
    small = ["-master.volumeSizeLimitMB=64", "-volume.max=8", "-master.telemetry=false"]
    none = ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command = [str(binary), "server", *options, *ports, *grpc, *small, *none]
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    obstore, stores = require("obstore", "store"), require("obstore.store", "store")
    store = stores.S3Store(
        "records",
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True, "timeout": "5s"},
        retry_config={"max_retries": 0},
    )

    def ready() -> bool:
        try:
            httpx.post(f"http://127.0.0.1:{filer}/buckets/records/")  # makes the bucket
            obstore.put(store, "probe", b"probe")
        except Exception:  # whatever it says while it starts
            return False
        return True

    def seen() -> Seen:
        tables: dict[str, list[pa.Table]] = {}
        for page in obstore.list(store, "lake"):
            for item in page:
                data = pa.BufferReader(bytes(obstore.get(store, item["path"]).bytes()))
                tables.setdefault(item["path"].split("/")[1], []).append(pq.read_table(data))
        return rows_in(tables)

    gate = Gate(port)
    try:
        with started(command, ready, tmp_path / "weed.log", cwd=tmp_path):
            url = f"s3://records/lake?endpoint=http://127.0.0.1:{gate.port}&region=us-east-1"
            yield Place(url, gate.open, gate.shut, seen, env)
    finally:
        gate.close()


@contextmanager
def kafka(tmp_path: Path) -> Iterator[Place]:
    """librdkafka's own mock cluster; once a client knows its brokers, the gate is behind it."""
    confluent = require("confluent_kafka", "kafka")
    cluster = confluent.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 0})
    brokers = list(cluster.list_topics(timeout=10).brokers.values())
    gate = Gate(brokers[0].port)

    def seen() -> Seen:
        """Read every topic; a reader keeps the keys that it has seen."""
        server = f"127.0.0.1:{brokers[0].port}"
        options = {"bootstrap.servers": server, "group.id": "tests", "auto.offset.reset": "earliest"}
        consumer = confluent.Consumer(options | {"enable.partition.eof": True, "log_level": 0})
        found: dict[tuple[str, bytes], str] = {}
        try:
            for kind in KINDS:
                found |= {(kind, key): json.loads(value)["id"] for key, value in messages(confluent, consumer, kind)}
        finally:
            consumer.close()
        return [(kind, id) for (kind, _), id in found.items()]

    try:
        yield Place(
            f"kafka://127.0.0.1:{gate.port}/predictions?delivery.timeout.ms=1000&linger.ms=5",
            gate.open,
            gate.shut,
            seen,
        )
    finally:
        gate.close()
        cluster.purge()


def messages(confluent: Any, consumer: Any, topic: str) -> Iterator[tuple[bytes, bytes]]:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([confluent.TopicPartition(topic, number, confluent.OFFSET_BEGINNING) for number in partitions])
    ends = 0
    while ends < len(partitions):
        message = consumer.poll(10)
        assert message is not None, "the topic does not answer"
        if message.error() is None:
            yield message.key(), message.value()
        else:
            assert message.error().code() == confluent.KafkaError._PARTITION_EOF, message.error()
            ends += 1


@contextmanager
def insert_all(tmp_path: Path) -> Iterator[Place]:
    """The real client against a BigQuery that refuses, throttles and half-succeeds."""
    server = FakeBigQuery()
    gate = Gate(server.port)
    try:
        url = f"bigquery://tests/records/predictions?write=insertAll&endpoint=http://127.0.0.1:{gate.port}"
        yield Place(url, gate.open, gate.shut, server.seen)
    finally:
        gate.close()
        server.close()


@contextmanager
def storage_write(tmp_path: Path) -> Iterator[Place]:
    """The real clients against the emulator `bqemulator`, which has its own Python because it holds DuckDB back."""
    own = Path(__file__).parents[3] / ".services"
    python = os.environ.get("BQEMULATOR") or shutil.which("bqemulator")
    if python is None and (own / ".ready").exists():
        python = str(own / "bin" / "bqemulator")
    if python is None:
        not_installed("bqemulator (make services installs it)")
    rest, grpc = free_port(), free_port()
    command = [str(python), "start", "--rest-port", str(rest), "--grpc-port", str(grpc), "--project", "tests"]
    bigquery = require("google.cloud.bigquery", "bigquery")
    credentials = require("google.auth.credentials", "bigquery").AnonymousCredentials()
    gates = [Gate(rest), Gate(grpc)]

    def each(name: str) -> Callable[[], None]:
        def change() -> None:
            for gate in gates:
                getattr(gate, name)()

        return change

    with started(command, lambda: answers(rest) and answers(grpc), tmp_path / "bq.log", cwd=tmp_path):
        options = {"api_endpoint": f"http://127.0.0.1:{rest}"}
        client = bigquery.Client("tests", client_options=options, credentials=credentials)
        client.create_dataset("tests.records", timeout=10)

        def seen() -> Seen:
            found: Seen = []
            for kind in KINDS:
                rows = client.query(f"SELECT id FROM `tests.records.{kind}_once`", timeout=10).result(timeout=20)
                found += [(kind, row["id"]) for row in rows]
            return found

        def ask(sql: str) -> list[dict[str, Any]]:
            options = bigquery.QueryJobConfig(default_dataset="tests.records")
            job = client.query(sql.replace("FROM predictions", "FROM predictions_once"), options, timeout=10)
            return [dict(row) for row in job.result(timeout=20)]

        try:
            ports = f"endpoint=http://127.0.0.1:{gates[0].port}&grpc=127.0.0.1:{gates[1].port}"
            yield Place(f"bigquery://tests/records/predictions?{ports}", each("open"), each("shut"), seen, {}, ask)
        finally:
            client.close()
            each("close")()


PLACES = {
    "folder": folder,
    "delta": delta,
    "postgres": postgres,
    "kafka": kafka,
    "bigquery-insertAll": insert_all,
}
HEAVY = {"s3": s3, "bigquery-storage": storage_write}
