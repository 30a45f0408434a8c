"""Topics for benchmarks, on a Kafka that was started for them: made, and filled before anything is measured."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.errors import KafkaUnavailable
from pipeline.ports import Emit
from pipeline.runtime.producer import make_producer, produce
from pipeline.settings import Kafka

TIMEOUT_S = 60.0
_CONFIG = {"max.message.bytes": "2097152"}


def new_topics(kafka: Kafka, partitions: Mapping[str, int]) -> dict[str, str]:
    """Makes a topic for each name, with that many partitions; its real name, which nobody else has, by the given one.

    Raises `KafkaUnavailable`.
    """
    names = {name: f"bench-{name}-{uuid.uuid4().hex[:8]}" for name in partitions}
    wanted = [NewTopic(names[name], count, replication_factor=1, config=_CONFIG) for name, count in partitions.items()]
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    try:
        for made in client.create_topics(wanted, operation_timeout=TIMEOUT_S).values():
            made.result(TIMEOUT_S)
    except (KafkaException, TimeoutError) as error:
        raise KafkaUnavailable(f"making topics for a benchmark at {kafka.bootstrap}: {error}") from None
    return names


def fill(kafka: Kafka, emits: Iterable[Emit]) -> None:
    """Sends all records and returns when each is confirmed; raises `KafkaUnavailable`."""
    producer = make_producer(kafka, linger_ms=20)
    failed: list[KafkaError] = []

    def confirmed(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for emit in emits:
        produce(producer, emit, confirmed)
        producer.poll(0)
    left = producer.flush(TIMEOUT_S)
    if left or failed:
        why = failed[0].str() if failed else "no confirmation came"
        raise KafkaUnavailable(
            f"filling a topic at {kafka.bootstrap}: {left + len(failed)} records were not sent: {why}"
        )
