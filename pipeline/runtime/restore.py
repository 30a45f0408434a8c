"""The records just before a committed offset, read without acting on them, to rebuild what a process must remember."""

from __future__ import annotations

import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.ports import InMessage
from pipeline.runtime.reader import PARTITION_EOF, in_message
from pipeline.settings import Kafka

TIMEOUT_S = 20.0


def recent_records(kafka: Kafka, topic: str, partition: int, before: int, since_us: int) -> list[InMessage]:
    """Records of one partition from `since_us` (microseconds UTC) up to, without, the offset `before`.

    Raises `KafkaException` when Kafka does not answer within 20 s.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "facepay-restore",  # required by the client, never joined
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        },
        logger=logging.getLogger("librdkafka"),
    )
    found: list[InMessage] = []
    try:
        start = consumer.offsets_for_times([TopicPartition(topic, partition, since_us // 1000)], timeout=TIMEOUT_S)[0]
        if start.offset < 0 or start.offset >= before:
            return []
        consumer.assign([start])
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            first = consumer.poll(0.2)
            for record in [] if first is None else [first, *consumer.consume(500, 0.0)]:
                error = record.error()
                if error is not None:
                    if error.code() == PARTITION_EOF:
                        return found
                    raise KafkaException(error)
                message = in_message(record)
                if message.offset < before:
                    found.append(message)
                if message.offset >= before - 1:
                    return found
    finally:
        consumer.close()
    raise TimeoutError(f"restoring partition {partition} of {topic}: no end within {TIMEOUT_S:.0f} s")
