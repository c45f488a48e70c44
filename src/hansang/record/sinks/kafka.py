"""Kafka: a message of JSON for each row, through librdkafka's idempotent producer.

The message's key says which row it is, so that a compacted topic, or a reader that keeps the keys it has seen, has
each row once though a parcel was sent twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from hansang.extras import require
from hansang.record.segment import FEEDBACK, PREDICTIONS
from hansang.record.sinks.address import Address, wrong
from hansang.record.sinks.lines import json_lines
from hansang.record.sinks.sink import KEYS, Parcel, Refused, other_name

DELIVERY = 30.0  # seconds until a message that was not acknowledged counts as failed
POLL = 0.1
PRODUCER: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "linger.ms": 50,
    "delivery.timeout.ms": int(DELIVERY * 1000),
    "socket.timeout.ms": 10_000,
    "client.id": "hansang",
}
OWN = ("feedback",)


@dataclass(slots=True)
class KafkaSink:
    """Produces to two topics; a message that is too large for the broker is refused.

    `settings` go to librdkafka as they are: `security.protocol`, `sasl.username`, `message.max.bytes`, …
    """

    settings: dict[str, Any]
    topics: dict[str, str]
    most_rows: int = 10_000
    _producer: Any = field(default=None, init=False, repr=False)
    _said: list[str] = field(default_factory=list, init=False, repr=False)

    def __enter__(self) -> Self:
        kafka = require("confluent_kafka", "kafka", "the Kafka sink")
        own = {"error_cb": lambda error: self._said.append(str(error)), "logger": quiet()}
        self._producer = kafka.Producer(PRODUCER | self.settings | own)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.purge()
        self._producer = None

    def deliver(self, parcel: Parcel) -> None:
        """Send the rows and wait until each is acknowledged; raises the first error that is not a row's own."""
        kafka = require("confluent_kafka", "kafka", "the Kafka sink")
        topic, key = self.topics[parcel.kind], KEYS[parcel.kind]
        refused: dict[int, str] = {}
        failed: list[Any] = []
        del self._said[:]

        def settled(place: int, error: Any) -> None:
            if error is not None and error.code() == kafka.KafkaError.MSG_SIZE_TOO_LARGE:
                refused[place] = str(error)
            elif error is not None:
                failed.append(error)

        for place, (row, line) in enumerate(json_lines(parcel)):
            name = "/".join(str(row[column]) for column in key).encode()
            try:
                self._send(topic, name, line, lambda error, _, place=place: settled(place, error))
            except kafka.KafkaException as error:
                settled(place, error.args[0])
        left = self._producer.flush(float(self.settings.get("delivery.timeout.ms", DELIVERY * 1000)) / 1000 + 5.0)
        if failed or left:
            why = failed[0].str() if failed else "no answer"
            raise ConnectionError(f"{len(failed) + left} messages were not taken: {why}; {'; '.join(self._said[-1:])}")
        if refused:
            raise Refused("messages are too large", refused)

    def _send(self, topic: str, key: bytes, value: bytes, settled: Any) -> None:
        """Queue a message, when there is room."""
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=settled)
            except BufferError:
                self._producer.poll(POLL)
                continue
            self._producer.poll(0)
            return


def quiet() -> Any:
    """Give the logger of librdkafka's own lines, which repeat what the delivery says already."""
    logger = logging.getLogger("hansang.kafka")
    logger.setLevel(logging.CRITICAL)
    return logger


def sink(address: Address) -> KafkaSink:
    """Make the sink of `kafka://host:9092,other:9092/topic`; options with a dot are librdkafka's own."""
    parts, options = address.parts, address.options
    user, _, brokers = parts.netloc.rpartition("@")
    topic = parts.path.strip("/")
    if not brokers or "/" in topic:
        raise wrong(address)
    topic = topic or PREDICTIONS
    settings = {name: value for name, value in options.items() if name not in OWN}
    if any("." not in name for name in settings):
        raise wrong(address, "options of librdkafka, as security.protocol=SASL_SSL, or feedback=topic")
    if user:
        name, _, password = user.partition(":")
        settings |= {"sasl.username": name, "sasl.password": password}
    settings["bootstrap.servers"] = brokers
    return KafkaSink(settings, {PREDICTIONS: topic, FEEDBACK: other_name(topic, options.get("feedback"), "-")})
