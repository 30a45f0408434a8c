"""Taking records from Kafka as the batch loop does, against confluent-kafka alone: 50 KB each, in client CPU."""

from __future__ import annotations

import os
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from pipeline.bench.rounds import Sample, interleave, timed
from pipeline.bench.rows import Goal, Row, cost_row
from pipeline.bench.topic import fill, new_topics
from pipeline.errors import KafkaUnavailable
from pipeline.ports import Emit
from pipeline.runtime.taking import take
from pipeline.settings import Kafka

RECORDS = 2_000
RECORD_BYTES = 50_000
TRANSPORT_GOAL = Goal("<=", 60.0, of="ours")
_STALLED_S = 60.0


def transport(rounds: int, kafka: Kafka, *, records: int = RECORDS) -> Row:
    """Client CPU to take a 50 KB record, as the loop takes it and as confluent-kafka gives it."""
    topic = new_topics(kafka, {"transport": 1})["transport"]
    data = os.urandom(RECORD_BYTES)
    fill(kafka, (Emit(topic, b"key", data, partition=0) for _ in range(records)))

    def ours() -> Sample:
        return _consumed(kafka, topic, records, lambda c: len(take(c, 16, first_s=0.05, fill_s=0.002)))

    def bare() -> Sample:
        return _consumed(kafka, topic, records, lambda c: sum(m.error() is None for m in c.consume(500, 0.05)))

    samples = interleave({"ours": ours, "bare": bare}, rounds)
    return cost_row(
        "engine.transport",
        samples["ours"],
        samples["bare"],
        item="frame",
        goal=TRANSPORT_GOAL,
        against="confluent-kafka consume(500)",
        more={"records": records, "record_bytes": RECORD_BYTES},
    )


def _consumed(kafka: Kafka, topic: str, records: int, some: Callable[[Consumer], int]) -> Sample:
    """All records of the topic's only partition, by a consumer that is new and does nothing before it is measured."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 20,
        }
    )

    def all_of_them() -> int:
        consumer.assign([TopicPartition(topic, 0, 0)])
        left, quiet_s = records, 0.0
        while left > 0:
            taken = some(consumer)
            left -= taken
            quiet_s = 0.0 if taken else quiet_s + 0.05
            if quiet_s > _STALLED_S:
                raise KafkaUnavailable(
                    f"reading {topic} at {kafka.bootstrap}: {left} of {records} records did not come"
                )
        return records

    try:
        return timed(all_of_them)
    finally:
        consumer.close()
