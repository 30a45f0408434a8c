"""The one way to make a producer: confirmed by all replicas, idempotent, and with the one partitioner."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer

from pipeline.ports import Emit
from pipeline.settings import Kafka
from pipeline.topics import PARTITIONER


def make_producer(
    kafka: Kafka, *, error_cb: Callable[[KafkaError], None] | None = None, **conf: str | int | bool
) -> Producer:
    """A confluent-kafka producer; `conf` holds further librdkafka settings with `_` for `.`, `error_cb` hears of
    brokers that are down and of fatal errors.

    A lane is a partition number, so every producer must place a key as every other does: librdkafka's own default
    disagrees with Java's and aiokafka's on three keys of four.
    """
    settings: dict[str, str | int | bool] = {
        "bootstrap.servers": kafka.bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": PARTITIONER,
        "linger.ms": 2,
        # The default of 10 s is how long a broker that is back may stay unseen.
        "reconnect.backoff.max.ms": 1_000,
        "delivery.timeout.ms": kafka.request_timeout_ms,
    }
    # `log_level` is the one name that librdkafka itself spells with an underscore.
    settings.update({n if n == "log_level" else n.replace("_", "."): value for n, value in conf.items()})
    # What librdkafka has to say goes where all logs go, when the producer is polled.
    logger = logging.getLogger("librdkafka")
    return Producer(settings if error_cb is None else {**settings, "error_cb": error_cb}, logger=logger)


def produce(
    producer: Producer, emit: Emit, confirmed: Callable[[KafkaError | None, Message], None] | None = None
) -> None:
    """Hands a record to the producer, waiting while its queue is full."""
    partition = -1 if emit.partition is None else emit.partition  # -1: the partitioner decides by the key
    while True:
        try:
            producer.produce(
                emit.topic,
                emit.value,
                key=emit.key,
                headers=list(emit.headers),
                on_delivery=confirmed,
                partition=partition,
            )
        except BufferError:
            producer.poll(0.05)
        else:
            return
